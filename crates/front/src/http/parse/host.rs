//! `Host` (RFC 9110 section 7.2): `uri-host [ ":" port ]`.

use super::classes;

/// Whether this is an unambiguous Host. An empty one is valid (RFC 9112 section 3.2): the target has no authority.
pub(super) fn is_valid(host: &[u8]) -> bool {
    let (name, port) = split(host);
    let name = match name {
        [b'[', inside @ .., b']'] => is_address(inside),
        name => is_name(name),
    };
    name && port.is_none_or(is_port)
}

/// The name, and the port after its colon.
fn split(host: &[u8]) -> (&[u8], Option<&[u8]>) {
    let after_name = match host.iter().position(|&byte| byte == b']') {
        Some(end) if host.starts_with(b"[") => end + 1,
        _ => host
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(host.len()),
    };
    match &host[after_name..] {
        [b':', port @ ..] => (&host[..after_name], Some(port)),
        [] => (host, None),
        // Something else stands between the bracket and the colon.
        _ => (host, None),
    }
}

/// `reg-name` or an IPv4 address (RFC 3986 section 3.2.2).
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (first, after) if classes::is_name(*first) => after,
            _ => return false,
        };
    }
    true
}

fn is_address(inside: &[u8]) -> bool {
    std::str::from_utf8(inside).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_port(port: &[u8]) -> bool {
    // `str::parse` would accept a sign.
    port.is_empty()
        || (port.len() <= 5
            && port.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(port).is_ok_and(|text| text.parse::<u16>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_meaning() {
        for host in [
            "",
            "localhost",
            "example.org",
            "example.org:80",
            "example.org:",
            "127.0.0.1:8000",
            "[::1]",
            "[::1]:8000",
            "[::ffff:1.2.3.4]",
            "a%20b",
            "under_score",
            "xn--bcher-kva.example",
            "a:65535",
            ":80",
        ] {
            assert!(is_valid(host.as_bytes()), "{host}");
        }
        for host in [
            "a b",
            "a,b",
            "a/b",
            "u@h",
            "a?b",
            "a#b",
            "a:b",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:123456",
            "a:80:80",
            "::1",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]x:80",
            "[v1.x]",
            "[]",
            "[127.0.0.1]",
            "a%2",
            "a%zz",
            "a\\b",
            "a<b",
            "\"a\"",
            "a\tb",
            "\u{e4}",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host}");
        }
    }
}
