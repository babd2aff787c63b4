//! The facts of one request for its line in the access log.

use std::rc::Rc;

use exchange::Version;
use http::{HeaderName, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Log;
use crate::http::{Peer, RequestHead, Response};

/// One request. Its line is written when this is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    log: Log,
    peer: Rc<Peer>,
    pub(super) at: Timestamp,
    pub(super) began: Instant,
    pub(super) request_line: RequestLine,
    /// Only the fields that the format contains.
    request_fields: Fields,
    response_fields: Fields,
    status: Option<StatusCode>,
    /// Bytes of the body that were handed to the connection.
    pub(super) sent: u64,
    /// The whole response was handed to the connection.
    pub(super) complete: bool,
}

/// Names and values.
type Fields = Vec<(HeaderName, Vec<u8>)>;

/// The request line.
#[derive(Debug)]
pub(super) enum RequestLine {
    Head {
        method: Vec<u8>,
        /// As received.
        target: Vec<u8>,
        version: Version,
    },
    /// The part of the request line that was received, when the head could not be read.
    Unread(Vec<u8>),
}

impl Record {
    /// Begins a record after the head has been read; `None` without a log.
    pub(crate) fn begin(log: Option<&Log>, peer: &Rc<Peer>, head: &RequestHead) -> Option<Self> {
        let log = log?;
        let fields = kept(&log.0.borrow().format.request_fields, |name| {
            head.field(name.as_str())
        });
        let request_line = RequestLine::Head {
            method: head.method().to_vec(),
            target: head.raw_target().to_vec(),
            version: head.version(),
        };
        Some(Self::new(log, peer, request_line, fields))
    }

    /// Writes the line of a request whose head could not be read.
    pub(crate) fn unread(
        log: Option<&Log>,
        peer: &Rc<Peer>,
        line: &[u8],
        status: StatusCode,
        sent: usize,
    ) {
        if let Some(log) = log {
            let mut record = Self::new(log, peer, RequestLine::Unread(line.to_vec()), Vec::new());
            record.status = Some(status);
            record.sent = sent as u64;
            record.complete = sent > 0;
        }
    }

    fn new(log: &Log, peer: &Rc<Peer>, request_line: RequestLine, request_fields: Fields) -> Self {
        Self {
            log: log.clone(),
            peer: Rc::clone(peer),
            at: Timestamp::now(),
            began: Instant::now(),
            request_line,
            request_fields,
            response_fields: Vec::new(),
            status: None,
            sent: 0,
            complete: false,
        }
    }

    /// Notes status and fields of the response.
    pub(crate) fn answered(&mut self, response: &Response) {
        let Ok(head) = response.head() else {
            return;
        };
        let Ok(status) = StatusCode::from_u16(head.status) else {
            return;
        };
        self.status = Some(status);
        self.response_fields = kept(&self.log.0.borrow().format.response_fields, |name| {
            let name = name.as_str().as_bytes();
            let mut fields = head.headers.iter();
            fields.find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
        });
    }

    /// Adds to the bytes of the body that were sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Notes that the whole body was sent.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The status of the response. Without one: 499 (nginx's code) when the client closed the connection, 503 when
    /// the server shut down.
    pub(super) fn status(&self) -> StatusCode {
        self.status
            .unwrap_or_else(|| StatusCode::from_u16(499).expect("three digits are a status"))
    }

    pub(super) fn remote(&self) -> &str {
        &self.peer.remote.0
    }

    pub(super) fn server_port(&self) -> u16 {
        self.peer.local.1
    }

    pub(super) fn request_field(&self, name: &HeaderName) -> Option<&[u8]> {
        find(&self.request_fields, name)
    }

    pub(super) fn response_field(&self, name: &HeaderName) -> Option<&[u8]> {
        find(&self.response_fields, name)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let log = self.log.clone();
        let mut open = log.0.borrow_mut();
        if open.ending {
            self.status.get_or_insert(StatusCode::SERVICE_UNAVAILABLE);
        }
        open.add(self);
    }
}

fn kept<'f>(names: &[HeaderName], field: impl Fn(&HeaderName) -> Option<&'f [u8]>) -> Fields {
    names
        .iter()
        .filter_map(|name| Some((name.clone(), field(name)?.to_vec())))
        .collect()
}

fn find<'f>(fields: &'f Fields, name: &HeaderName) -> Option<&'f [u8]> {
    fields
        .iter()
        .find_map(|(kept, value)| (kept == name).then_some(value.as_slice()))
}
