//! How a request and the head of an answer are written into the exchange, and read back.
//!
//! Each item is a length (little endian) and its bytes; the fields of a request stay the lines that the client sent. The
//! reader copies the bytes first and checks every length in its copy, so later writes to the shared memory have no effect.

use std::ops::Range;

/// A request as the front hands it over. Bytes are as the client sent them, already found well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method's token.
    pub method: &'a [u8],
    /// The path of the target, still percent-encoded, without the query.
    pub path: &'a [u8],
    /// What follows the first `?`, still percent-encoded; empty without one.
    pub query: &'a [u8],
    /// The version of HTTP that it came in.
    pub version: Version,
    /// The request came over TLS.
    pub https: bool,
    /// The client's IP address as text; empty on a unix socket.
    pub remote_addr: &'a [u8],
    /// The client's port; 0 on a unix socket.
    pub remote_port: u16,
    /// Name of the server, as of RFC 3875 section 4.1.14: from the Host field, else the listener's address.
    pub server_name: &'a [u8],
    /// The port that belongs to that name.
    pub server_port: u16,
    /// The authority of a target in the absolute form, which takes the place of the Host field; empty otherwise.
    pub authority: &'a [u8],
    /// The header fields.
    pub fields: Lines<'a>,
    /// The body.
    pub body: Body<'a>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// What `SERVER_PROTOCOL` calls it (RFC 3875 section 4.1.16).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// Where the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Here. Empty when there is none.
    Memory(&'a [u8]),
    /// So many bytes that are still in the exchange; the thread that has taken the request reads them by
    /// [`crate::Answer::body`].
    Apart(u64),
    /// In a file of this many bytes; the descriptor is fetched from the front.
    File(u64),
}

/// The header fields of a request as they came: lines of name, colon and value, each with its line end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Lines<'a>(&'a [u8]);

/// The header fields of an answer in their order: name and value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a>(&'a [u8]);

/// Bytes that are no request or no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("what stands in the exchange is not what the other side writes")
    }
}

impl std::error::Error for Malformed {}

const HTTP10: u8 = 1;
const HTTPS: u8 = 2;
const IN_FILE: u8 = 4;
const HTTP2: u8 = 8;

/// Collects header fields as [`Headers`] reads them.
#[derive(Debug, Default)]
pub struct HeaderWriter(Vec<u8>);

impl HeaderWriter {
    /// Adds one field.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        put(&mut self.0, name);
        put(&mut self.0, value);
    }

    /// Removes the fields, keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What has been collected.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        Headers(&self.0)
    }
}

impl<'a> Request<'a> {
    /// Appends the request to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let body = self.encode_head(out);
        out.extend_from_slice(body);
    }

    /// Appends all but a body in memory to `out`, and returns that body.
    #[must_use]
    pub fn encode_head(&self, out: &mut Vec<u8>) -> &'a [u8] {
        let (in_file, size) = match self.body {
            Body::Memory(bytes) => (0, bytes.len() as u64),
            Body::Apart(size) => (0, size),
            Body::File(size) => (IN_FILE, size),
        };
        let version = match self.version {
            Version::Http10 => HTTP10,
            Version::Http11 => 0,
            Version::Http2 => HTTP2,
        };
        out.push(version | if self.https { HTTPS } else { 0 } | in_file);
        out.extend_from_slice(&self.remote_port.to_le_bytes());
        out.extend_from_slice(&self.server_port.to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        for bytes in [
            self.method,
            self.path,
            self.query,
            self.remote_addr,
            self.server_name,
            self.authority,
            self.fields.0,
        ] {
            put(out, bytes);
        }
        match self.body {
            Body::Memory(bytes) => bytes,
            Body::Apart(_) | Body::File(_) => &[],
        }
    }

    /// Reads what [`Request::encode`] wrote, or what [`Request::encode_head`] did.
    ///
    /// # Errors
    /// [`Malformed`] when a length does not fit the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let [flags] = array(&mut rest)?;
        let remote_port = u16::from_le_bytes(array(&mut rest)?);
        let server_port = u16::from_le_bytes(array(&mut rest)?);
        let size = u64::from_le_bytes(array(&mut rest)?);
        let method = take(&mut rest)?;
        let path = take(&mut rest)?;
        let query = take(&mut rest)?;
        let remote_addr = take(&mut rest)?;
        let server_name = take(&mut rest)?;
        let authority = take(&mut rest)?;
        let fields = Lines(take(&mut rest)?);
        let body = if flags & IN_FILE != 0 {
            if !rest.is_empty() {
                return Err(Malformed);
            }
            Body::File(size)
        } else if rest.len() as u64 == size {
            Body::Memory(rest)
        } else if rest.is_empty() {
            Body::Apart(size)
        } else {
            return Err(Malformed);
        };
        let version = match flags & (HTTP10 | HTTP2) {
            HTTP10 => Version::Http10,
            0 => Version::Http11,
            HTTP2 => Version::Http2,
            _ => return Err(Malformed),
        };
        let https = flags & HTTPS != 0;
        Ok(Self {
            method,
            path,
            query,
            version,
            https,
            remote_addr,
            remote_port,
            server_name,
            server_port,
            authority,
            fields,
            body,
        })
    }
}

impl<'a> Lines<'a> {
    /// No fields at all.
    pub const NONE: Lines<'static> = Lines(&[]);

    /// The fields in these lines. A line without a colon is skipped.
    #[must_use]
    pub fn new(lines: &'a [u8]) -> Self {
        Self(lines)
    }

    /// All of them as they stand.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Name, as the client wrote it, and value of each field in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let lines = self.0;
        self.places()
            .map(move |(name, value)| (&lines[name], &lines[value]))
    }

    /// The ranges of name and value of each field.
    pub fn places(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + use<'a> {
        let lines = self.0;
        let mut start = 0;
        std::iter::from_fn(move || {
            while start < lines.len() {
                let begin = start;
                let line = &lines[begin..];
                let line = &line[..memchr::memchr(b'\n', line).unwrap_or(line.len())];
                start = begin + line.len() + 1;
                if let Some(colon) = memchr::memchr(b':', line) {
                    let value = line[colon + 1..].trim_ascii_start();
                    let begin_of_value = begin + line.len() - value.len();
                    let length = value.trim_ascii_end().len();
                    let value = begin_of_value..begin_of_value + length;
                    return Some((begin..begin + colon, value));
                }
            }
            None
        })
    }
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The status code, 100 to 999.
    pub status: u16,
    /// The reason phrase, as the application gave it.
    pub reason: &'a [u8],
    /// The header fields, names as the application wrote them.
    pub headers: Headers<'a>,
}

impl<'a> Head<'a> {
    /// Appends the head to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.status.to_le_bytes());
        put(out, self.reason);
        put(out, self.headers.0);
    }

    /// How many bytes [`Head::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        2 + 4 + self.reason.len() + 4 + self.headers.0.len()
    }

    /// Reads what [`Head::encode`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] when a length does not fit the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let status = u16::from_le_bytes(array(&mut rest)?);
        let reason = take(&mut rest)?;
        let headers = Headers::checked(take(&mut rest)?)?;
        if rest.is_empty() && (100..1000).contains(&status) {
            Ok(Self {
                status,
                reason,
                headers,
            })
        } else {
            Err(Malformed)
        }
    }
}

impl<'a> Headers<'a> {
    /// No fields at all.
    pub const NONE: Headers<'static> = Headers(&[]);

    fn checked(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        while !rest.is_empty() {
            take(&mut rest)?;
            take(&mut rest)?;
        }
        Ok(Self(bytes))
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.0;
        // The lengths were checked when the fields were read, or written by `HeaderWriter`.
        std::iter::from_fn(move || Some((take(&mut rest).ok()?, take(&mut rest).ok()?)))
    }
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        names(f, self.iter())
    }
}

impl std::fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        names(f, self.iter())
    }
}

/// Names only: a value may be a secret, and debug output may be logged.
fn names<'a>(
    f: &mut std::fmt::Formatter<'_>,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> std::fmt::Result {
    let names = fields.map(|(name, _)| String::from_utf8_lossy(name));
    f.debug_list().entries(names).finish()
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length =
        u32::try_from(bytes.len()).expect("heads and bodies in memory are limited far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = u32::from_le_bytes(array(rest)?) as usize;
    let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = after;
    Ok(bytes)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or(Malformed)?;
    *rest = after;
    Ok(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..40)
    }

    proptest! {
        #[test]
        fn a_request_is_read_as_it_was_written(
            texts in proptest::collection::vec(field(), 6),
            fields in proptest::collection::vec(("[!-9;-~]{1,9}", "[!-~]{0,9}"), 0..5),
            version in proptest::sample::select(vec![Version::Http10, Version::Http11, Version::Http2]),
            flags in any::<(bool, u16, u16)>(),
            body in proptest::option::of(field()),
        ) {
            let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let request = Request {
                method: &texts[0], path: &texts[1], query: &texts[2], version, https: flags.0,
                remote_addr: &texts[3], remote_port: flags.1, server_name: &texts[4], server_port: flags.2,
                authority: &texts[5], fields: Lines::new(lines.as_bytes()), body: body.as_deref().map_or(Body::File(7), Body::Memory),
            };
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            prop_assert_eq!(Request::decode(&bytes), Ok(request));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let read: Vec<_> = request.fields.iter().map(|(n, v)| (text(n), text(v))).collect();
            prop_assert_eq!(read, fields);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::decode(&bytes);
            let _ = Head::decode(&bytes);
            let _ = Lines::new(&bytes).iter().count();
        }

        #[test]
        fn a_cut_request_is_malformed(cut in 0usize..1000) {
            let request = Request {
                method: b"GET", path: b"/", query: b"", version: Version::Http11, https: false, remote_addr: b"::1", remote_port: 1,
                server_name: b"localhost", server_port: 80, authority: b"", fields: Lines::NONE, body: Body::Memory(b"body"),
            };
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            let head = bytes.len() - b"body".len();
            bytes.truncate(cut % bytes.len());
            let read = Request::decode(&bytes);
            if bytes.len() == head {
                prop_assert_eq!(read.map(|request| request.body), Ok(Body::Apart(4)));
            } else {
                prop_assert_eq!(read, Err(Malformed));
            }
        }
    }
}
