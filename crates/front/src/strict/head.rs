//! A request's head: its lines, and what they say about the body's framing (RFC 9112 sections 2 to 6).

use super::{Fault, Limits, host, is_token, is_value};

/// Longer ones hyper cannot count.
const LONGEST_BODY: u64 = u64::MAX - 2;

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// A head that has been read to some line.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the line begins that is not whole yet.
    line: usize,
    /// How much of it is known not to end it.
    looked: usize,
    /// The version, once the request line has been read.
    http11: Option<bool>,
    fields: usize,
    host: bool,
    length: Option<u64>,
    coding: Option<Coding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    Unknown,
}

impl Head {
    /// The length of the head and the framing of its body, once the head is whole. `bytes` begin with the head.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<(usize, Framing)>, Fault> {
        loop {
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
            match (self.http11, line) {
                // RFC 9112 section 2.2: an empty line before the request line is passed over.
                (None, []) => {}
                (None, line) => self.request_line(line)?,
                (Some(http11), []) => return Ok(Some((behind, self.framing(http11)?))),
                (Some(_), line) => self.field(line, limits)?,
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
        match self.http11 {
            // Whoever speaks TLS or another protocol need not wait for the time-out.
            None if !is_token(first) && first != b'\r' => Err(Fault::Malformed),
            None if length > limits.line || size > limits.head => Err(Fault::LineTooLong),
            Some(_) if length > limits.field || size > limits.head => Err(Fault::HeadTooLarge),
            _ => Ok(()),
        }
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Fault::Malformed);
        };
        if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
            return Err(Fault::Malformed);
        }
        let http11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Fault::Version);
            }
            _ => return Err(Fault::Malformed),
        };
        check_target(method, target)?;
        self.http11 = Some(http11);
        Ok(())
    }

    fn field(&mut self, line: &[u8], limits: &Limits) -> Result<(), Fault> {
        let (name, value) = check_field(line, limits)?;
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Fault::HeadTooLarge);
        }
        if name.eq_ignore_ascii_case(b"host") {
            return self.set_host(value);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            return self.set_length(value);
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return self.set_coding(value);
        }
        Ok(())
    }

    fn set_host(&mut self, value: &[u8]) -> Result<(), Fault> {
        if std::mem::replace(&mut self.host, true) || !host::is_valid(value) {
            return Err(Fault::Malformed);
        }
        Ok(())
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
    fn framing(&self, http11: bool) -> Result<Framing, Fault> {
        if http11 && !self.host {
            return Err(Fault::Malformed);
        }
        match (self.coding, self.length) {
            (None, length) => Ok(Framing::Length(length.unwrap_or(0))),
            // RFC 9112 section 6.1: in HTTP/1.0, and beside a length, the framing is to be taken as faulty.
            (Some(_), Some(_)) => Err(Fault::Malformed),
            (Some(_), None) if !http11 => Err(Fault::Malformed),
            (Some(Coding::Unknown), None) => Err(Fault::NotServed),
            (Some(Coding::Chunked), None) => Ok(Framing::Chunked),
        }
    }
}

/// Checks a field line, and gives its name and value.
pub(super) fn check_field<'l>(
    line: &'l [u8],
    limits: &Limits,
) -> Result<(&'l [u8], &'l [u8]), Fault> {
    if line.len() > limits.field {
        return Err(Fault::HeadTooLarge);
    }
    let colon = line.iter().position(|&byte| byte == b':');
    let (name, value) = line.split_at(colon.ok_or(Fault::Malformed)?);
    let sound = !name.is_empty()
        && name.iter().all(|&byte| is_token(byte))
        && value.iter().all(|&byte| is_value(byte));
    if !sound {
        return Err(Fault::Malformed);
    }
    Ok((name, value[1..].trim_ascii()))
}

/// Codings that are well-formed and not served: one that is not chunked, or several of which only the last is.
fn unknown_coding(value: &[u8]) -> Result<Coding, Fault> {
    let codings: Vec<&[u8]> = value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .collect();
    let tokens = codings
        .iter()
        .all(|coding| !coding.is_empty() && coding.iter().all(|&byte| is_token(byte)));
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
    let common = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>');
    let path = path
        .iter()
        .all(|&byte| common(byte) && !matches!(byte, b'`'));
    let query = query.iter().all(|&byte| common(byte) && byte != b'"');
    if path && query {
        Ok(())
    } else {
        Err(Fault::Malformed)
    }
}

fn check_absolute(target: &[u8]) -> Result<(), Fault> {
    let behind_scheme = |scheme: &[u8]| {
        let (begin, behind) = target.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(behind)
    };
    let behind = behind_scheme(b"http://")
        .or_else(|| behind_scheme(b"https://"))
        .ok_or(Fault::Malformed)?;
    let end = behind
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(behind.len());
    let (authority, path) = behind.split_at(end);
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
