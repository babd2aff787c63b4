//! Helpers for the tests of several layers: streams in memory, and responses as from an application.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use exchange::{After, Extent, Head, HeaderWriter, Part};
use tokio::io::DuplexStream;

use crate::config::{Settings, Untaken};
use crate::handler::Handler;
use crate::http::{Body, Next, Parts, Request, Response};
use crate::net::Stream;

impl Stream for DuplexStream {
    fn poll_send_file(
        &self,
        _: &mut TaskContext<'_>,
        _: &File,
        _: u64,
        _: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        None
    }

    fn close_as_failed(&self) {}

    fn prepare_for_file(&self, _: bool) {}

    fn untaken(&self, _: Untaken) -> usize {
        0
    }
}

/// A handler that calls a function.
pub(crate) struct Answers<F>(pub(crate) F);

impl<F: Fn(Request) -> Response> Handler for Answers<F> {
    async fn handle(&self, request: Request) -> Response {
        (self.0)(request)
    }
}

/// The further parts of a response; each one yields once before it is ready.
#[derive(Debug, Default)]
pub(crate) struct Script {
    parts: VecDeque<Part>,
    extent: Option<Extent>,
    is_ready: bool,
}

impl Parts for Script {
    fn poll_next(&mut self, context: &mut TaskContext<'_>) -> Poll<Next> {
        self.is_ready = !self.is_ready;
        if self.is_ready {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.parts.pop_front().map_or(Next::Lost, Next::Part))
    }

    fn extent(&mut self) -> Option<Extent> {
        self.extent.take()
    }
}

/// How an application sends its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Whole,
    Streamed,
    File,
}

/// A response with these fields, and this body in pieces.
pub(crate) fn response(status: u16, fields: &[(&str, &str)], body: &[&[u8]], way: Way) -> Response {
    let mut writer = HeaderWriter::default();
    for (name, value) in fields {
        writer.push(name.as_bytes(), value.as_bytes());
    }
    let head = Head {
        status,
        reason: b"As It Is",
        headers: writer.headers(),
    };
    let mut bytes = Vec::new();
    head.encode(&mut bytes);
    let head = bytes.len();
    let mut script = Script {
        parts: VecDeque::new(),
        extent: None,
        is_ready: false,
    };
    let after = match way {
        Way::Whole => {
            body.iter().for_each(|piece| bytes.extend_from_slice(piece));
            After::Complete
        }
        Way::Streamed => {
            let part = |bytes: &[u8], after| Part {
                bytes: bytes.to_vec(),
                head: 0,
                after,
            };
            script.parts = body.iter().map(|piece| part(piece, After::More)).collect();
            script.parts.push_back(part(b"", After::Complete));
            After::More
        }
        Way::File => {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"before").unwrap();
            body.iter().for_each(|piece| file.write_all(piece).unwrap());
            file.write_all(b"behind").unwrap();
            script.extent = Some(Extent {
                file: file.into(),
                offset: 6,
                length: body.iter().map(|piece| piece.len() as u64).sum(),
            });
            After::File
        }
    };
    Response::new(Part { bytes, head, after }, script)
}

/// The bytes of a request's body, in memory or in a file.
pub(crate) fn content(body: &Body) -> Vec<u8> {
    match body {
        Body::Empty => Vec::new(),
        Body::Memory(bytes, _) => bytes.clone(),
        Body::File(file, length) => {
            let mut bytes = vec![0; usize::try_from(*length).unwrap()];
            file.file().read_exact_at(&mut bytes, 0).unwrap();
            bytes
        }
    }
}

pub(crate) fn settings() -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        keep_alive: second,
        header_timeout: second,
        body_timeout: second,
        min_rate: 0,
        send_timeout: second,
        queue_timeout: second,
        limit_request_line: 8190,
        limit_request_fields: 100,
        limit_request_field_size: 8190,
        limit_request_body: 1 << 20,
        buffer_memory: 1 << 20,
        buffer_dir: None,
        buffer_disk: 1 << 30,
        http2: false,
        max_connections: 1,
        health: None,
    }
}
