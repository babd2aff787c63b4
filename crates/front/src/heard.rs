//! A request's head as it came, found good.

use http::Method;
use http::header::CONTENT_LENGTH;

use crate::strict::{Connection, Expects, Outline, Target, split_target};

/// The head of one request.
#[derive(Debug)]
pub(crate) struct Heard {
    bytes: Vec<u8>,
    outline: Outline,
}

impl Heard {
    /// `bytes` are those of the head alone.
    pub(crate) fn new(bytes: Vec<u8>, outline: Outline) -> Self {
        Self { bytes, outline }
    }

    /// The whole head.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn method(&self) -> &[u8] {
        &self.bytes[self.outline.method.clone()]
    }

    /// The target as it stands in the request line.
    pub(crate) fn raw_target(&self) -> &[u8] {
        &self.bytes[self.outline.target.clone()]
    }

    pub(crate) fn target(&self) -> Target<'_> {
        split_target(self.raw_target())
    }

    pub(crate) fn is_http10(&self) -> bool {
        !self.outline.http11
    }

    /// The answer has no body, whatever its fields say.
    pub(crate) fn is_head(&self) -> bool {
        self.method() == Method::HEAD.as_str().as_bytes()
    }

    /// The field lines, each with its line end.
    pub(crate) fn fields(&self) -> &[u8] {
        &self.bytes[self.outline.fields.clone()]
    }

    /// The value of the first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&[u8]> {
        exchange::Lines::new(self.fields())
            .iter()
            .find_map(|(known, value)| known.eq_ignore_ascii_case(name.as_bytes()).then_some(value))
    }

    /// Whom the client believes to talk to: the authority of the target, which takes the place of the Host field
    /// (RFC 9112 section 3.2.2). Empty when it does not say.
    pub(crate) fn host(&self) -> &[u8] {
        match self.target().authority {
            [] => &self.bytes[self.outline.host.clone()],
            authority => authority,
        }
    }

    pub(crate) fn expects(&self) -> Expects {
        self.outline.expects
    }

    /// The connection is to be closed after the answer.
    pub(crate) fn closes(&self) -> bool {
        self.outline.connection == Connection::Close
    }

    /// The head of the same request without a body: for whoever frames its answer when the body has been read.
    pub(crate) fn without_body(&self) -> Vec<u8> {
        let mut head = self.bytes[..self.outline.fields.start].to_vec();
        for (name, value) in exchange::Lines::new(self.fields()).iter() {
            if !name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str().as_bytes()) {
                for piece in [name, b": ", value, b"\r\n"] {
                    head.extend_from_slice(piece);
                }
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Nothing has to be negotiated or left out: unless the body has to be decoded, and when the answer comes whole, too,
    /// there is only to be read and written.
    pub(crate) fn is_plain(&self) -> bool {
        self.outline.http11
            && self.outline.expects == Expects::Nothing
            && self.outline.connection != Connection::Other
            && !self.is_head()
    }
}
