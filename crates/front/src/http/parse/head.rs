//! A request's head: its lines, and what they say about the body's framing (RFC 9112 sections 2 to 6).

use std::ops::Range;

use exchange::Version;
use exchange::syntax::{is_name, is_token, is_value};

use super::classes::{is_path, is_query};
use super::fault::{Fault, Limits};
use super::host;

/// Longer ones hyper cannot count.
const LONGEST_BODY: u64 = u64::MAX - 2;

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// What a whole head says, and where in its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadIndex {
    /// Bytes of the head, with the empty lines before it and the one that ends it.
    pub(crate) length: usize,
    pub(crate) method: Range<usize>,
    pub(crate) target: Range<usize>,
    /// HTTP/1.1, when not HTTP/1.0.
    pub(crate) version: Version,
    /// The field lines, each with its line end.
    pub(crate) fields: Range<usize>,
    /// The value of Host; empty without one.
    pub(crate) host: Range<usize>,
    /// A body may follow.
    pub(crate) has_body: bool,
    /// What Expect asks for (RFC 9110 section 10.1.1).
    pub(crate) expects: Expects,
    /// What Connection says (RFC 9110 section 7.6.1).
    pub(crate) connection: Connection,
}

/// What a client expects before it sends the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expects {
    #[default]
    Nothing,
    Continue,
    /// Something that is not known.
    Other,
}

/// What is to become of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Connection {
    /// What the version of HTTP says.
    #[default]
    Usual,
    /// `close` alone.
    Close,
    /// Anything else.
    Other,
}

/// A head that has been read to some line.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the line begins that is not whole yet.
    line: usize,
    /// How much of it is known not to end it.
    looked: usize,
    /// What the request line says, once it has been read.
    request: Option<RequestLine>,
    facts: Facts,
}

/// What the fields say.
#[derive(Clone, Debug, Default)]
struct Facts {
    fields: usize,
    /// Counted from the first field line.
    host: Option<Range<usize>>,
    length: Option<u64>,
    coding: Option<Coding>,
    expects: Expects,
    connection: Option<Connection>,
}

/// The field lines of the last head and what they said: the next head on a connection mostly has the same.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// With the empty line.
    lines: Vec<u8>,
    facts: Facts,
}

/// Longer ones are not remembered: an idle connection should have little memory.
const LONGEST_MEMO: usize = 1024;

#[derive(Debug)]
struct RequestLine {
    method: Range<usize>,
    target: Range<usize>,
    version: Version,
    /// Where the line after it begins.
    behind: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    Unknown,
}

impl Head {
    /// What the head says, once it is whole, and the framing of its body. `bytes` begin with the head.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        memo: &mut Memo,
    ) -> Result<Option<(HeadIndex, Framing)>, Fault> {
        loop {
            if let Some(behind) = self.remember(bytes, limits, memo) {
                return self.index(behind);
            }
            let begun = &bytes[self.line..];
            let Some(end) = memchr::memchr(b'\n', &begun[self.looked..]) else {
                self.looked = begun.len();
                self.check_bounds(begun, bytes.len(), limits)?;
                return Ok(None);
            };
            let end = self.looked + end;
            let behind = self.line + end + 1;
            self.check_bounds(&begun[..end], behind, limits)?;
            let [line @ .., b'\r'] = &begun[..end] else {
                return Err(Fault::Malformed);
            };
            match (&self.request, line) {
                // RFC 9112 section 2.2: an empty line before the request line is passed over.
                (None, []) => {}
                (None, line) => self.request = Some(request_line(line, self.line)?),
                (Some(request), []) => {
                    memo.keep(&bytes[request.behind..behind], &self.facts);
                    return self.index(behind);
                }
                (Some(request), line) => {
                    let start = self.line - request.behind;
                    self.facts.read(line, start, limits)?;
                }
            }
            (self.line, self.looked) = (behind, 0);
        }
    }

    /// What can be said of a line before it ends, and must then be said first of one that has ended: that bytes come
    /// one by one or all at once makes no difference. `size` is that of the head so far.
    fn check_bounds(&self, begun: &[u8], size: usize, limits: &Limits) -> Result<(), Fault> {
        // The carriage return does not count.
        let length = begun.strip_suffix(b"\r").unwrap_or(begun).len();
        let first = begun.first().copied().unwrap_or(b'\r');
        match self.request {
            // Whoever speaks TLS or another protocol need not wait for the time-out.
            None if !is_token(first) && first != b'\r' => Err(Fault::Malformed),
            None if length > limits.line || size > limits.head => Err(Fault::LineTooLong),
            Some(_) if length > limits.field || size > limits.head => Err(Fault::HeadTooLarge),
            _ => Ok(()),
        }
    }

    /// The end of the head, when its field lines are those of the last one.
    fn remember(&mut self, bytes: &[u8], limits: &Limits, memo: &Memo) -> Option<usize> {
        let start = self.request.as_ref()?.behind;
        let behind = start + memo.lines.len();
        let same = self.line == start
            && !memo.lines.is_empty()
            && behind <= limits.head
            && bytes[start..].starts_with(&memo.lines);
        if !same {
            return None;
        }
        self.facts = memo.facts.clone();
        Some(behind)
    }

    /// What the whole head says, which ends before `behind`.
    fn index(&mut self, behind: usize) -> Result<Option<(HeadIndex, Framing)>, Fault> {
        let Some(request) = self.request.take() else {
            return Ok(None);
        };
        let start = request.behind;
        let facts = std::mem::take(&mut self.facts);
        let framing = facts.framing(request.version)?;
        let index = HeadIndex {
            length: behind,
            method: request.method,
            target: request.target,
            version: request.version,
            // Without the empty line.
            fields: start..behind - 2,
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
    /// Reads a field line, which begins so many bytes behind the first one.
    fn read(&mut self, line: &[u8], start: usize, limits: &Limits) -> Result<(), Fault> {
        let (name, place) = check_field(line, limits)?;
        let value = &line[place.clone()];
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Fault::HeadTooLarge);
        }
        // Few names mean something here, and their lengths differ.
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
        let said = if value.eq_ignore_ascii_case(b"close") {
            Connection::Close
        } else if value.eq_ignore_ascii_case(b"keep-alive") {
            Connection::Usual
        } else {
            Connection::Other
        };
        self.connection = Some(match self.connection {
            None => said,
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

    /// What the whole head says.
    fn framing(&self, version: Version) -> Result<Framing, Fault> {
        if version != Version::Http10 && self.host.is_none() {
            return Err(Fault::Malformed);
        }
        match (self.coding, self.length) {
            (None, length) => Ok(Framing::Length(length.unwrap_or(0))),
            // RFC 9112 section 6.1: in HTTP/1.0, and beside a length, the framing is to be taken as faulty.
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
        behind: start + line.len() + 2,
    })
}

/// Checks a field line, and gives its name and where its value stands.
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

/// Codings that are well-formed and not served: one that is not chunked, or several of which only the last is.
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

/// Path and query: what the `http` crate takes, but no bytes beyond ASCII and no fragment, which are never sent.
fn check_path(target: &[u8]) -> Result<(), Fault> {
    let query = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(query);
    let path = path.iter().all(|&byte| is_path(byte));
    // The question mark is one of its characters.
    let query = query.iter().all(|&byte| is_query(byte));
    if path && query {
        Ok(())
    } else {
        Err(Fault::Malformed)
    }
}

/// The parts of a target that has been found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'t> {
    /// Of the absolute form; empty otherwise.
    pub(crate) authority: &'t [u8],
    /// `*` in the asterisk form.
    pub(crate) path: &'t [u8],
    /// What follows the first `?`.
    pub(crate) query: Option<&'t [u8]>,
}

/// Takes a target apart that has been found good.
pub(crate) fn split_target(target: &[u8]) -> Target<'_> {
    let (authority, rest) = match target {
        [b'/' | b'*', ..] => (&[][..], target),
        _ => {
            let scheme = memchr::memmem::find(target, b"://").map_or(0, |at| at + 3);
            let behind = &target[scheme..];
            behind.split_at(end_of_authority(behind))
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

fn end_of_authority(behind_scheme: &[u8]) -> usize {
    memchr::memchr2(b'/', b'?', behind_scheme).unwrap_or(behind_scheme.len())
}

fn check_absolute(target: &[u8]) -> Result<(), Fault> {
    let behind_scheme = |scheme: &[u8]| {
        let (begin, behind) = target.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(behind)
    };
    let behind = behind_scheme(b"http://")
        .or_else(|| behind_scheme(b"https://"))
        .ok_or(Fault::Malformed)?;
    let (authority, path) = behind.split_at(end_of_authority(behind));
    // A name is needed here: `http://:80/` says nothing (RFC 9110 section 4.2.1).
    if matches!(authority, [] | [b':', ..]) || !host::is_valid(authority) {
        return Err(Fault::Malformed);
    }
    check_path(path)?;
    // Among what is valid, hyper's reading of an authority takes less: no escapes, for one.
    match http::Uri::try_from(target) {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::Malformed),
    }
}
