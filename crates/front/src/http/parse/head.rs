//! The parser of a request's head: its lines, and the framing of the body that follows (RFC 9112 sections 2 to 6).

use std::ops::Range;

use exchange::Version;
use exchange::syntax::{is_name, is_token, is_value};

use super::classes::is_target;
use super::fault::{Fault, Limits};
use super::host;

/// hyper cannot count longer bodies.
const LONGEST_BODY: u64 = u64::MAX - 2;

/// The framing of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// The values of a head, and their positions in its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadIndex {
    /// Bytes of the head, with empty lines before it and the empty line that ends it.
    pub(crate) length: usize,
    pub(crate) method: Range<usize>,
    pub(crate) target: Range<usize>,
    /// HTTP/1.1 or HTTP/1.0.
    pub(crate) version: Version,
    /// The field lines, each with its line end.
    pub(crate) fields: Range<usize>,
    /// The value of Host; empty without the field.
    pub(crate) host: Range<usize>,
    /// A body may follow.
    pub(crate) has_body: bool,
    /// The value of Expect (RFC 9110 section 10.1.1).
    pub(crate) expects: Expects,
    /// The value of Connection (RFC 9110 section 7.6.1).
    pub(crate) connection: Connection,
}

/// What the client expects before it sends the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expects {
    #[default]
    Nothing,
    Continue,
    /// An unknown expectation.
    Other,
}

/// Whether the connection persists after the response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Connection {
    /// The default of the version of HTTP.
    #[default]
    Usual,
    /// `close` alone.
    Close,
    /// Any other value.
    Other,
}

/// A head that has been read up to some line.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the incomplete line begins.
    line: usize,
    /// How many of its bytes have been searched for the line end.
    looked: usize,
    /// The parsed request line.
    request: Option<RequestLine>,
    facts: Facts,
}

/// The values of the fields that the server itself uses.
#[derive(Clone, Debug, Default)]
struct Facts {
    fields: usize,
    /// Relative to the first field line.
    host: Option<Range<usize>>,
    length: Option<u64>,
    coding: Option<Coding>,
    expects: Expects,
    connection: Option<Connection>,
}

/// The field lines of the last head and their values: the next head on a connection mostly has the same lines.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// Including the empty line.
    lines: Vec<u8>,
    facts: Facts,
}

/// Longer field lines are not remembered: an idle connection should use little memory.
const LONGEST_MEMO: usize = 1024;

#[derive(Debug)]
struct RequestLine {
    method: Range<usize>,
    target: Range<usize>,
    version: Version,
    /// Where the next line begins.
    after: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    Unknown,
}

impl Head {
    /// Reads on in the head at the start of `bytes`. Returns its index and the framing of the body once it is
    /// complete.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        memo: &mut Memo,
    ) -> Result<Option<(HeadIndex, Framing)>, Fault> {
        loop {
            if let Some(after) = self.remember(bytes, limits, memo) {
                return self.index(after);
            }
            let begun = &bytes[self.line..];
            let Some(end) = memchr::memchr(b'\n', &begun[self.looked..]) else {
                self.looked = begun.len();
                self.check_bounds(begun, bytes.len(), limits)?;
                return Ok(None);
            };
            let end = self.looked + end;
            let after = self.line + end + 1;
            self.check_bounds(&begun[..end], after, limits)?;
            let [line @ .., b'\r'] = &begun[..end] else {
                return Err(Fault::Malformed);
            };
            match (&self.request, line) {
                // RFC 9112 section 2.2: an empty line before the request line is ignored.
                (None, []) => {}
                (None, line) => self.request = Some(request_line(line, self.line)?),
                (Some(request), []) => {
                    memo.keep(&bytes[request.after..after], &self.facts);
                    return self.index(after);
                }
                (Some(request), line) => {
                    let start = self.line - request.after;
                    self.facts.read(line, start, limits)?;
                }
            }
            (self.line, self.looked) = (after, 0);
        }
    }

    /// Checks that are possible before a line has ended. They are applied in the same order to a complete line, so
    /// that the result does not depend on how the bytes were split. `size` is the size of the head so far.
    fn check_bounds(&self, begun: &[u8], size: usize, limits: &Limits) -> Result<(), Fault> {
        // The carriage return does not count.
        let length = begun.strip_suffix(b"\r").unwrap_or(begun).len();
        let first = begun.first().copied().unwrap_or(b'\r');
        match self.request {
            // Fails at the first byte of TLS or another protocol, instead of waiting for a time-out.
            None if !is_token(first) && first != b'\r' => Err(Fault::Malformed),
            None if length > limits.line || size > limits.head => Err(Fault::LineTooLong),
            Some(_) if length > limits.field || size > limits.head => Err(Fault::HeadTooLarge),
            _ => Ok(()),
        }
    }

    /// The end of the head, if its field lines equal those of the last head.
    fn remember(&mut self, bytes: &[u8], limits: &Limits, memo: &Memo) -> Option<usize> {
        let start = self.request.as_ref()?.after;
        let after = start + memo.lines.len();
        let same = self.line == start
            && !memo.lines.is_empty()
            && after <= limits.head
            && bytes[start..].starts_with(&memo.lines);
        if !same {
            return None;
        }
        self.facts = memo.facts.clone();
        Some(after)
    }

    /// The index of the complete head, which ends before `after`.
    fn index(&mut self, after: usize) -> Result<Option<(HeadIndex, Framing)>, Fault> {
        let Some(request) = self.request.take() else {
            return Ok(None);
        };
        let start = request.after;
        let facts = std::mem::take(&mut self.facts);
        let framing = facts.framing(request.version)?;
        let index = HeadIndex {
            length: after,
            method: request.method,
            target: request.target,
            version: request.version,
            // Without the final empty line.
            fields: start..after - 2,
            host: facts
                .host
                .map_or(0..0, |host| start + host.start..start + host.end),
            has_body: framing != Framing::Length(0),
            expects: facts.expects,
            connection: facts.connection.unwrap_or_default(),
        };
        Ok(Some((index, framing)))
    }
}

impl Memo {
    fn keep(&mut self, lines: &[u8], facts: &Facts) {
        self.lines.clear();
        if lines.len() <= LONGEST_MEMO {
            self.lines.extend_from_slice(lines);
            self.facts = facts.clone();
        }
    }
}

impl Facts {
    /// Reads a field line that begins `start` bytes after the first one.
    fn read(&mut self, line: &[u8], start: usize, limits: &Limits) -> Result<(), Fault> {
        let (name, place) = check_field(line, limits)?;
        let value = &line[place.clone()];
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Fault::HeadTooLarge);
        }
        // Only a few names matter here, and their lengths differ.
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => self.set_host(value, start + place.start),
            6 if is(b"expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    self.expects = Expects::Other;
                } else if self.expects == Expects::Nothing {
                    self.expects = Expects::Continue;
                }
                Ok(())
            }
            7 if is(b"upgrade") => {
                self.connection = Some(Connection::Other);
                Ok(())
            }
            10 if is(b"connection") => {
                self.set_connection(value);
                Ok(())
            }
            14 if is(b"content-length") => self.set_length(value),
            17 if is(b"transfer-encoding") => self.set_coding(value),
            _ => Ok(()),
        }
    }

    fn set_host(&mut self, value: &[u8], start: usize) -> Result<(), Fault> {
        let place = start..start + value.len();
        if self.host.replace(place).is_some() || !host::is_valid(value) {
            return Err(Fault::Malformed);
        }
        Ok(())
    }

    fn set_connection(&mut self, value: &[u8]) {
        let option = if value.eq_ignore_ascii_case(b"close") {
            Connection::Close
        } else if value.eq_ignore_ascii_case(b"keep-alive") {
            Connection::Usual
        } else {
            Connection::Other
        };
        self.connection = Some(match self.connection {
            None => option,
            Some(_) => Connection::Other,
        });
    }

    fn set_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value)
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse().ok())
            .filter(|length| *length <= LONGEST_BODY)
            .ok_or(Fault::Malformed)?;
        if self.length.replace(length).is_some() {
            return Err(Fault::Malformed);
        }
        Ok(())
    }

    fn set_coding(&mut self, value: &[u8]) -> Result<(), Fault> {
        let coding = if value.eq_ignore_ascii_case(b"chunked") {
            Coding::Chunked
        } else {
            unknown_coding(value)?
        };
        if self.coding.replace(coding).is_some() {
            return Err(Fault::Malformed);
        }
        Ok(())
    }

    /// The framing that the complete head specifies.
    fn framing(&self, version: Version) -> Result<Framing, Fault> {
        if version != Version::Http10 && self.host.is_none() {
            return Err(Fault::Malformed);
        }
        match (self.coding, self.length) {
            (None, length) => Ok(Framing::Length(length.unwrap_or(0))),
            // RFC 9112 section 6.1: Transfer-Encoding in HTTP/1.0, or together with Content-Length, is treated as
            // an error.
            (Some(_), Some(_)) => Err(Fault::Malformed),
            (Some(_), None) if version == Version::Http10 => Err(Fault::Malformed),
            (Some(Coding::Unknown), None) => Err(Fault::NotServed),
            (Some(Coding::Chunked), None) => Ok(Framing::Chunked),
        }
    }
}

fn request_line(line: &[u8], start: usize) -> Result<RequestLine, Fault> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::Malformed);
    };
    if !is_name(method) {
        return Err(Fault::Malformed);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Fault::Version);
        }
        _ => return Err(Fault::Malformed),
    };
    check_target(method, target)?;
    let begin_of_target = start + method.len() + 1;
    Ok(RequestLine {
        method: start..start + method.len(),
        target: begin_of_target..begin_of_target + target.len(),
        version,
        after: start + line.len() + 2,
    })
}

/// Checks a field line. Returns its name and the position of its value.
pub(super) fn check_field<'l>(
    line: &'l [u8],
    limits: &Limits,
) -> Result<(&'l [u8], Range<usize>), Fault> {
    if line.len() > limits.field {
        return Err(Fault::HeadTooLarge);
    }
    let end = line.iter().position(|&byte| !is_token(byte));
    let Some(colon @ 1..) = end.filter(|&end| line[end] == b':') else {
        return Err(Fault::Malformed);
    };
    let value = &line[colon + 1..];
    if !is_value(value) {
        return Err(Fault::Malformed);
    }
    let start = line.len() - value.trim_ascii_start().len();
    Ok((&line[..colon], start..start + value.trim_ascii().len()))
}

/// Codings that are well-formed but not supported: one other than chunked, or several ending with chunked.
fn unknown_coding(value: &[u8]) -> Result<Coding, Fault> {
    let codings: Vec<&[u8]> = value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .collect();
    let tokens = codings.iter().all(|coding| is_name(coding));
    let chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    match codings.split_last() {
        Some((last, [])) if tokens && !chunked(last) => Ok(Coding::Unknown),
        Some((last, others)) if tokens && chunked(last) && !others.iter().any(chunked) => {
            Ok(Coding::Unknown)
        }
        _ => Err(Fault::Malformed),
    }
}

/// The four forms of RFC 9112 section 3.2.
fn check_target(method: &[u8], target: &[u8]) -> Result<(), Fault> {
    match target {
        _ if method == b"CONNECT" => Err(Fault::NotServed),
        [b'/', ..] => check_path(target),
        b"*" if method == b"OPTIONS" => Ok(()),
        _ => check_absolute(target),
    }
}

/// Path and query.
fn check_path(target: &[u8]) -> Result<(), Fault> {
    if target.iter().all(|&byte| is_target(byte)) {
        Ok(())
    } else {
        Err(Fault::Malformed)
    }
}

/// The parts of a checked target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'t> {
    /// The authority of the absolute form; empty otherwise.
    pub(crate) authority: &'t [u8],
    /// `*` in the asterisk form.
    pub(crate) path: &'t [u8],
    /// The part after the first `?`.
    pub(crate) query: Option<&'t [u8]>,
}

/// Splits a checked target.
pub(crate) fn split_target(target: &[u8]) -> Target<'_> {
    let (authority, rest) = match target {
        [b'/' | b'*', ..] => (&[][..], target),
        _ => {
            let scheme = memchr::memmem::find(target, b"://").map_or(0, |at| at + 3);
            let after = &target[scheme..];
            after.split_at(end_of_authority(after))
        }
    };
    let (path, query) = match memchr::memchr(b'?', rest) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    Target {
        authority,
        path: if path.is_empty() { b"/" } else { path },
        query,
    }
}

fn end_of_authority(after_scheme: &[u8]) -> usize {
    memchr::memchr2(b'/', b'?', after_scheme).unwrap_or(after_scheme.len())
}

fn check_absolute(target: &[u8]) -> Result<(), Fault> {
    let after_scheme = |scheme: &[u8]| {
        let (begin, after) = target.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(after)
    };
    let after = after_scheme(b"http://")
        .or_else(|| after_scheme(b"https://"))
        .ok_or(Fault::Malformed)?;
    let (authority, path) = after.split_at(end_of_authority(after));
    // A host name is required here: `http://:80/` is invalid (RFC 9110 section 4.2.1).
    if matches!(authority, [] | [b':', ..]) || !host::is_valid(authority) {
        return Err(Fault::Malformed);
    }
    check_path(path)?;
    // hyper accepts fewer authorities; percent escapes, for instance, it rejects.
    match http::Uri::try_from(target) {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::Malformed),
    }
}
