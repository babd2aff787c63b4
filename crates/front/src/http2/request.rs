//! A request as it comes in a stream, brought into the form of HTTP/1, so that it is judged by the same rules.

use exchange::Version;
use http::Method;
use http::header::{COOKIE, HOST};
use http::request::Parts;

use crate::http::RequestHead;
use crate::http::parse::{Fault, Limits, Parser};

/// The head of a request.
///
/// # Errors
/// What no head of HTTP/1 may be is none here either.
pub(super) fn head(parts: &Parts, limits: Limits) -> Result<RequestHead, Fault> {
    let bytes = lines(parts)?;
    let mut index = Parser::new(limits).head(&bytes)?.ok_or(Fault::Malformed)?;
    index.version = Version::Http2;
    Ok(RequestHead::new(bytes, index))
}

/// The request line, as the access log shows that of a request which is refused.
pub(super) fn request_line(parts: &Parts) -> Vec<u8> {
    [parts.method.as_str(), target(parts), Version::Http2.name()]
        .join(" ")
        .into_bytes()
}

fn target(parts: &Parts) -> &str {
    let uri = &parts.uri;
    if parts.method == Method::CONNECT {
        return uri.authority().map_or("", |authority| authority.as_str());
    }
    uri.path_and_query().map_or("/", |target| target.as_str())
}

fn lines(parts: &Parts) -> Result<Vec<u8>, Fault> {
    let mut lines = Vec::with_capacity(1024);
    for piece in [parts.method.as_str(), " ", target(parts), " HTTP/1.1\r\n"] {
        lines.extend_from_slice(piece.as_bytes());
    }
    let mut push = |name: &str, value: &[u8]| {
        for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
            lines.extend_from_slice(piece);
        }
    };
    // It takes the place of the Host field, which says the same, if it is there (RFC 9113 section 8.3.1).
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    if let Some(authority) = authority {
        push("host", authority.as_bytes());
    }
    for (name, value) in &parts.headers {
        if *name == HOST
            && let Some(authority) = authority
        {
            if value.as_bytes() != authority.as_bytes() {
                return Err(Fault::Malformed);
            }
        } else if *name != COOKIE {
            push(name.as_str(), value.as_bytes());
        }
    }
    // A client may send each cookie by itself (RFC 9113 section 8.2.3).
    let cookies: Vec<&[u8]> = parts
        .headers
        .get_all(COOKIE)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    if !cookies.is_empty() {
        push("cookie", &cookies.join(&b"; "[..]));
    }
    lines.extend_from_slice(b"\r\n");
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LIMITS: Limits = Limits {
        line: 100,
        fields: 10,
        field: 100,
        head: 1000,
    };

    fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_stream_says_what_a_head_says() {
        let parts = parts(
            "GET",
            "http://site:81/a%20b?c=d",
            &[
                ("cookie", "a=1"),
                ("x", "y"),
                ("host", "site:81"),
                ("cookie", "b=2"),
            ],
        );
        let head = head(&parts, LIMITS).unwrap();
        assert_eq!(head.version(), Version::Http2);
        assert_eq!(
            (head.method(), head.raw_target()),
            (&b"GET"[..], &b"/a%20b?c=d"[..])
        );
        assert_eq!(head.host(), b"site:81");
        assert_eq!(
            head.fields(),
            b"host: site:81\r\nx: y\r\ncookie: a=1; b=2\r\n"
        );
        assert_eq!(request_line(&parts), b"GET /a%20b?c=d HTTP/2.0");
    }

    #[test]
    fn what_is_refused_in_http1_is_refused() {
        let long = format!("/{}", "a".repeat(100));
        for (method, uri, fields, fault) in [
            ("GET", "http://a/", &[("host", "b")][..], Fault::Malformed),
            ("GET", "/", &[], Fault::Malformed),
            ("GET", "http://user@a/", &[], Fault::Malformed),
            ("CONNECT", "a:443", &[], Fault::NotServed),
            ("GET", &format!("http://a{long}"), &[], Fault::LineTooLong),
            ("GET", "http://a/", &[("x", &long)], Fault::HeadTooLarge),
        ] {
            let found = head(&parts(method, uri, fields), LIMITS);
            assert_eq!(found.unwrap_err(), fault, "{method} {uri} {fields:?}");
        }
    }
}
