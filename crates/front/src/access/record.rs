//! What is known of one request.

use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use jiff::Timestamp;
use tokio::time::Instant;

use super::LOG;
use crate::request::Scene;

/// One request, whose line is written when this is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    scene: Rc<Scene>,
    pub(super) at: Timestamp,
    pub(super) began: Instant,
    pub(super) asked: Asked,
    /// Only those that the format shows.
    request_fields: Vec<(HeaderName, HeaderValue)>,
    response_fields: Vec<(HeaderName, HeaderValue)>,
    status: Option<StatusCode>,
    /// Bytes of the body that were given to the connection.
    pub(super) sent: u64,
    /// All of the answer was.
    pub(super) complete: bool,
}

/// What was asked.
#[derive(Debug)]
pub(super) enum Asked {
    Head {
        method: Method,
        uri: Uri,
        http10: bool,
    },
    /// The request line of a head that could not be read, as far as it came.
    Unread(Vec<u8>),
}

impl Record {
    /// A request whose head has been read; `None` without a log.
    pub(crate) fn begin(scene: &Rc<Scene>, head: &http::request::Parts) -> Option<Self> {
        LOG.with_borrow(|log| {
            let fields = kept(&log.as_ref()?.format.request_fields, &head.headers);
            let asked = Asked::Head {
                method: head.method.clone(),
                uri: head.uri.clone(),
                http10: head.version == Version::HTTP_10,
            };
            Some(Self::new(scene, asked, fields))
        })
    }

    /// Writes the line of a request whose head could not be read.
    pub(crate) fn unread(scene: &Rc<Scene>, line: &[u8], status: StatusCode, sent: usize) {
        if LOG.with_borrow(Option::is_some) {
            let mut record = Self::new(scene, Asked::Unread(line.to_vec()), Vec::new());
            record.status = Some(status);
            record.sent = sent as u64;
            record.complete = sent > 0;
        }
    }

    fn new(
        scene: &Rc<Scene>,
        asked: Asked,
        request_fields: Vec<(HeaderName, HeaderValue)>,
    ) -> Self {
        Self {
            scene: Rc::clone(scene),
            at: Timestamp::now(),
            began: Instant::now(),
            asked,
            request_fields,
            response_fields: Vec::new(),
            status: None,
            sent: 0,
            complete: false,
        }
    }

    /// The answer begins.
    pub(crate) fn answered(&mut self, status: StatusCode, fields: &HeaderMap) {
        self.status = Some(status);
        LOG.with_borrow(|log| {
            if let Some(log) = log {
                self.response_fields = kept(&log.format.response_fields, fields);
            }
        });
    }

    /// So many bytes of the body are on their way.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The whole body is.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// Whether the request is one whose answer has no body.
    pub(crate) fn is_head(&self) -> bool {
        matches!(&self.asked, Asked::Head { method, .. } if *method == Method::HEAD)
    }

    /// The status of the answer; 499, which nginx made up for it, when the client had gone before there was one.
    pub(super) fn status(&self) -> StatusCode {
        self.status
            .unwrap_or_else(|| StatusCode::from_u16(499).expect("three digits are a status"))
    }

    pub(super) fn remote(&self) -> &str {
        &self.scene.peer.remote.0
    }

    pub(super) fn server_port(&self) -> u16 {
        self.scene.peer.local.1
    }

    pub(super) fn request_field(&self, name: &HeaderName) -> Option<&HeaderValue> {
        find(&self.request_fields, name)
    }

    pub(super) fn response_field(&self, name: &HeaderName) -> Option<&HeaderValue> {
        find(&self.response_fields, name)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        super::with(|log| log.add(self));
    }
}

fn kept(names: &[HeaderName], fields: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    names
        .iter()
        .filter_map(|name| Some((name.clone(), fields.get(name)?.clone())))
        .collect()
}

fn find<'f>(fields: &'f [(HeaderName, HeaderValue)], name: &HeaderName) -> Option<&'f HeaderValue> {
    fields
        .iter()
        .find_map(|(kept, value)| (kept == name).then_some(value))
}
