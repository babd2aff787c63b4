//! Requests that the server makes itself before the application is shared, so that what a framework loads at its first
//! requests is loaded once.

use exchange::{After, Body, Extent, Gone, Head, Lines, Reply, Request, Version};
use pyo3::prelude::*;

use crate::app::App;
use crate::input::Fetched;

/// The outcome of one request of the warm-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warmed {
    /// The URL as it was given.
    pub url: String,
    /// The status of the answer; `None` when it was broken off.
    pub status: Option<u16>,
    /// A failure of which the server knows: a traceback or another reason.
    pub failure: Option<String>,
}

impl Warmed {
    /// Why the request has failed, in one line or with a traceback before it; `None` when it has not.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        let Self {
            url,
            status,
            failure,
        } = self;
        match (status, failure) {
            (_, Some(failure)) => {
                let failure = failure.trim_end();
                let last = failure.lines().last().unwrap_or_default();
                let before = failure.strip_suffix(last).unwrap_or_default();
                let traceback = if before.is_empty() { "" } else { failure };
                let line = format!("--warmup {url}: {last}");
                Some(format!("{traceback}\n{line}").trim_start().to_owned())
            }
            (Some(status @ 500..), None) => Some(format!(
                "--warmup {url}: the answer has the status {status}"
            )),
            (Some(_), None) => None,
            (None, None) => Some(format!("--warmup {url}: the answer was broken off")),
        }
    }
}

impl App {
    /// Requests each URL, which is a path or begins with `http://` or `https://`, and drops the answer.
    pub fn warm_up(&self, py: Python<'_>, urls: &[String]) -> Vec<Warmed> {
        urls.iter().map(|url| self.request(py, url)).collect()
    }

    fn request(&self, py: Python<'_>, given: &str) -> Warmed {
        let url = Url::read(given);
        let lines = format!(
            "Host: {}\r\nUser-Agent: rwsgi/{} (warm-up)\r\nAccept: */*\r\n",
            url.authority,
            env!("CARGO_PKG_VERSION"),
        );
        let request = Request {
            method: b"GET",
            path: url.path.as_bytes(),
            query: url.query.as_bytes(),
            version: Version::Http11,
            https: url.https,
            remote_addr: b"127.0.0.1",
            remote_port: 0,
            server_name: url.host.as_bytes(),
            server_port: url.port,
            authority: b"",
            fields: Lines::new(lines.as_bytes()),
            body: Body::Memory(b""),
        };
        let mut status_only = StatusOnly::default();
        let failure = self.answer(py, &request, Fetched::Nothing, &mut status_only);
        Warmed {
            url: given.to_owned(),
            status: status_only.status,
            failure,
        }
    }
}

/// Keeps the status of an answer, and drops the rest.
#[derive(Default)]
struct StatusOnly {
    status: Option<u16>,
}

impl Reply for StatusOnly {
    fn fits(&self, _bytes: usize) -> bool {
        true
    }

    fn send(&mut self, head: Option<&Head<'_>>, _data: &[u8], after: After) -> Result<(), Gone> {
        self.status = match after {
            After::Broken => None,
            After::More | After::Complete | After::File => {
                head.map_or(self.status, |head| Some(head.status))
            }
        };
        Ok(())
    }

    fn send_file(&mut self, head: Option<&Head<'_>>, _extent: Extent) -> Result<(), Gone> {
        self.send(head, &[], After::File)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    https: bool,
    /// Host and port, for the Host field.
    authority: &'a str,
    host: &'a str,
    port: u16,
    path: &'a str,
    query: &'a str,
}

impl<'a> Url<'a> {
    fn read(url: &'a str) -> Self {
        let (https, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, Some(rest)),
            (None, rest) => (true, rest),
        };
        let (https, authority, target) = match rest {
            Some(rest) => {
                let (authority, target) =
                    rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                (https, authority, target)
            }
            None => (false, "localhost", url),
        };
        let standard = if https { 443 } else { 80 };
        let (host, port) = match authority
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse()))
        {
            Some((host, Ok(port))) => (host, port),
            _ => (authority, standard),
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.is_empty() { "/" } else { path };
        Self {
            https,
            authority,
            host,
            port,
            path,
            query,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_path_or_names_a_host() {
        let check = |url, https, authority, host, port, path, query| {
            assert_eq!(
                Url::read(url),
                Url {
                    https,
                    authority,
                    host,
                    port,
                    path,
                    query
                },
                "{url}"
            );
        };
        check("/", false, "localhost", "localhost", 80, "/", "");
        check(
            "/a/b?c=d?e",
            false,
            "localhost",
            "localhost",
            80,
            "/a/b",
            "c=d?e",
        );
        check(
            "http://site.example",
            false,
            "site.example",
            "site.example",
            80,
            "/",
            "",
        );
        check(
            "http://site.example:8080?x",
            false,
            "site.example:8080",
            "site.example",
            8080,
            "/",
            "x",
        );
        check(
            "https://[::1]:8443/a",
            true,
            "[::1]:8443",
            "[::1]",
            8443,
            "/a",
            "",
        );
        check("https://[::1]/a", true, "[::1]", "[::1]", 443, "/a", "");
    }
}
