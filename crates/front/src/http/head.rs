//! The head of a request that has been read and checked.

use exchange::{Lines, Version};

use super::parse::{Connection, Expects, HeadIndex, Target, split_target};

/// The head of one request.
#[derive(Debug)]
pub(crate) struct RequestHead {
    bytes: Vec<u8>,
    index: HeadIndex,
}

impl RequestHead {
    /// `bytes` holds the head and nothing else.
    pub(crate) fn new(bytes: Vec<u8>, index: HeadIndex) -> Self {
        Self { bytes, index }
    }

    pub(crate) fn method(&self) -> &[u8] {
        &self.bytes[self.index.method.clone()]
    }

    /// The target as in the request line.
    pub(crate) fn raw_target(&self) -> &[u8] {
        &self.bytes[self.index.target.clone()]
    }

    pub(crate) fn target(&self) -> Target<'_> {
        split_target(self.raw_target())
    }

    /// The version of HTTP in which the request was received.
    pub(crate) fn version(&self) -> Version {
        self.index.version
    }

    pub(crate) fn is_http10(&self) -> bool {
        self.version() == Version::Http10
    }

    /// The method is HEAD: the response has no body.
    pub(crate) fn is_head(&self) -> bool {
        self.method() == b"HEAD"
    }

    /// The field lines, each with its line end.
    pub(crate) fn fields(&self) -> &[u8] {
        &self.bytes[self.index.fields.clone()]
    }

    /// The value of the first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&[u8]> {
        Lines::new(self.fields())
            .iter()
            .find_map(|(known, value)| known.eq_ignore_ascii_case(name.as_bytes()).then_some(value))
    }

    /// The host that the client addresses: the authority of the target, which overrides the Host field (RFC 9112
    /// section 3.2.2). Empty when neither is there.
    pub(crate) fn host(&self) -> &[u8] {
        match self.target().authority {
            [] => &self.bytes[self.index.host.clone()],
            authority => authority,
        }
    }

    /// The value of Expect. In HTTP/1.0 `100-continue` is ignored (RFC 9110 section 10.1.1).
    pub(crate) fn expects(&self) -> Expects {
        match self.index.expects {
            Expects::Continue if self.is_http10() => Expects::Nothing,
            expects => expects,
        }
    }

    /// Whether the client allows the connection to persist after the response (RFC 9112 section 9.3).
    pub(crate) fn persists(&self) -> bool {
        match self.index.connection {
            Connection::Close => false,
            Connection::Usual if !self.is_http10() => true,
            Connection::Usual | Connection::Other => {
                let has = |wanted: &[u8]| {
                    let mut options = self.connection_options();
                    options.any(|option| option.eq_ignore_ascii_case(wanted))
                };
                !has(b"close") && (!self.is_http10() || has(b"keep-alive"))
            }
        }
    }

    /// Whether the client asks for a WebSocket instead of a response (RFC 6455 section 4.1). Over HTTP/2 it does so with CONNECT
    /// (RFC 8441).
    pub(crate) fn asks_for_websocket(&self) -> bool {
        self.index.connection == Connection::Other
            && self.version() == Version::Http11
            && self.method() == b"GET"
            && self
                .field("upgrade")
                .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
    }

    fn connection_options(&self) -> impl Iterator<Item = &[u8]> {
        Lines::new(self.fields())
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"))
            .flat_map(|(_, value)| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Limits, Parser};
    use super::*;

    fn head(text: &str) -> RequestHead {
        let limits = Limits {
            line: 100,
            fields: 10,
            field: 100,
            head: 1000,
        };
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let index = Parser::new(limits).head(&bytes).unwrap().unwrap();
        RequestHead::new(bytes, index)
    }

    #[test]
    fn a_connection_persists_as_its_version_and_its_options_say() {
        for (version, field, persists) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\n", false),
            ("1.1", "Connection: Close\n", false),
            ("1.1", "Connection: keep-alive\n", true),
            ("1.1", "Connection: upgrade\n", true),
            ("1.1", "Connection: x , close\n", false),
            ("1.1", "Connection: x\nConnection: close\n", false),
            ("1.1", "Upgrade: websocket\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: keep-alive\n", true),
            ("1.0", "Connection: x, Keep-Alive\n", true),
            ("1.0", "Connection: keep-alive, close\n", false),
            ("1.0", "Connection: x\n", false),
        ] {
            let head = head(&format!("GET / HTTP/{version}\nHost: a\n{field}\n"));
            assert_eq!(head.persists(), persists, "{version} {field}");
        }
    }

    #[test]
    fn a_websocket_is_asked_for_by_get_in_http11() {
        for (line, field, asks) in [
            (
                "GET / HTTP/1.1",
                "Connection: Upgrade\nUpgrade: websocket\n",
                true,
            ),
            (
                "GET / HTTP/1.1",
                "Upgrade: WebSocket\nConnection: keep-alive, Upgrade\n",
                true,
            ),
            (
                "GET / HTTP/1.1",
                "Connection: Upgrade\nUpgrade: h2c\n",
                false,
            ),
            ("GET / HTTP/1.1", "X-Upgrade: websocket\n", false),
            (
                "POST / HTTP/1.1",
                "Connection: Upgrade\nUpgrade: websocket\n",
                false,
            ),
            (
                "GET / HTTP/1.0",
                "Connection: Upgrade\nUpgrade: websocket\n",
                false,
            ),
        ] {
            let head = head(&format!("{line}\nHost: a\n{field}\n"));
            assert_eq!(head.asks_for_websocket(), asks, "{line} {field}");
        }
    }

    #[test]
    fn only_in_http11_a_body_waits_for_100_continue() {
        let expects = |version, what| {
            head(&format!(
                "POST / HTTP/{version}\nHost: a\nExpect: {what}\n\n"
            ))
            .expects()
        };
        assert_eq!(expects("1.1", "100-continue"), Expects::Continue);
        assert_eq!(expects("1.0", "100-continue"), Expects::Nothing);
        assert_eq!(expects("1.1", "x"), Expects::Other);
    }
}
