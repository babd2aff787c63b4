//! The short way: a request without a body or with a short one of known length, answered as a whole, is only a matter of
//! reading and writing.
//!
//! The head has been read strictly, whichever way it goes, so that nothing is left to decode; and an answer of known length
//! has no framing but its bytes. All else is hyper's: what this way turns out not to fit goes on there as it is.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use exchange::{After, Head, Part, syntax};
use http::StatusCode;
use tracing::debug;

use crate::access::Record;
use crate::body::{self, Whole};
use crate::clock;
use crate::connection::Phase;
use crate::heard::Heard;
use crate::refuse::Refusal;
use crate::request::{self, Begun, First, Scene};
use crate::wire::{Socket, Wire};

/// Bodies up to this size are copied behind their head, so that the kernel is given one piece.
const COPIED: usize = 16 * 1024;
/// Memory for messages that is kept for the next one.
const KEPT: usize = 64 * 1024;

thread_local! {
    static MESSAGE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// How a plain request ended.
pub(crate) enum Served {
    /// The answer is out. `true` when the connection goes on.
    Plainly(bool),
    /// The answer is none that is only written.
    Otherwise(Box<Begun>),
}

/// Serves a plain request, whose body has so many bytes.
///
/// # Errors
/// When the client has gone.
pub(crate) async fn serve<S: Socket>(
    wire: &RefCell<Wire<S>>,
    scene: &Rc<Scene>,
    heard: &Heard,
    length: usize,
) -> io::Result<Served> {
    let mut record = Record::begin(scene, heard);
    let first = match begin(wire, scene, heard, length).await {
        Ok(first) => first,
        refused => return Ok(otherwise(record, refused)),
    };
    let closes = heard.closes() || scene.is_last() || scene.settings.keep_alive.is_zero();
    let mut message = MESSAGE.take();
    message.clear();
    let Some(body) = write(&first, closes, record.as_mut(), &mut message) else {
        MESSAGE.set(message);
        return Ok(otherwise(record, Ok(first)));
    };
    let sent = send(wire, &message, body).await;
    if let Some(record) = &mut record
        && sent.is_ok()
    {
        record.complete();
    }
    if message.capacity() <= KEPT {
        MESSAGE.set(message);
    }
    sent?;
    scene.clock.set(Phase::Idle(clock::now()));
    Ok(Served::Plainly(!closes))
}

async fn begin<S: Socket>(
    wire: &RefCell<Wire<S>>,
    scene: &Scene,
    heard: &Heard,
    length: usize,
) -> Result<First, Refusal> {
    let body = match length {
        0 => Whole::Memory(Vec::new()),
        _ => body::read_plainly(wire, length, &scene.settings).await?,
    };
    request::begin(scene, heard, body).await
}

fn otherwise(record: Option<Record>, first: Result<First, Refusal>) -> Served {
    Served::Otherwise(Box::new(Begun { record, first }))
}

/// Writes the answer into `message`, but for a body that is not to be copied, which is given back. `None` when the answer
/// has to be framed, or is wrong.
fn write<'f>(
    first: &'f First,
    closes: bool,
    record: Option<&mut Record>,
    message: &mut Vec<u8>,
) -> Option<&'f [u8]> {
    let (head, status, body) = take_apart(&first.part)?;
    write_status(status, head.reason, message);
    write_fields(&head, body.len(), message)?;
    if closes {
        message.extend_from_slice(b"Connection: close\r\n");
    }
    message.extend_from_slice(b"\r\n");
    if let Some(record) = record {
        note(record, status, &head, body.len());
    }
    if body.len() > COPIED {
        return Some(body);
    }
    message.extend_from_slice(body);
    Some(b"")
}

/// Head, status and body of an answer that is complete and of a status that has a body.
fn take_apart(part: &Part) -> Option<(Head<'_>, StatusCode, &[u8])> {
    if part.after != After::Complete {
        return None;
    }
    let (head, body) = part.bytes.split_at(part.head);
    let head = Head::decode(head).ok()?;
    let status = StatusCode::from_u16(head.status).ok()?;
    let has_body = matches!(head.status, 200..=599) && !matches!(head.status, 204 | 205 | 304);
    (has_body && syntax::is_value(head.reason)).then_some((head, status, body))
}

fn write_status(status: StatusCode, reason: &[u8], message: &mut Vec<u8>) {
    message.extend_from_slice(b"HTTP/1.1 ");
    message.extend_from_slice(status.as_str().as_bytes());
    message.push(b' ');
    message.extend_from_slice(reason);
    message.extend_from_slice(b"\r\n");
}

/// Writes the fields, with a `Date`. `None` when they frame the body otherwise than by its length, or say a wrong one.
fn write_fields(head: &Head<'_>, body: usize, message: &mut Vec<u8>) -> Option<()> {
    let (mut length, mut has_date) = (None, false);
    for (name, value) in head.headers.iter() {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"date") => has_date = true,
            10 if is(b"connection") => return None,
            14 if is(b"content-length") => {
                let said: usize = std::str::from_utf8(value).ok()?.parse().ok()?;
                if said != body || length.replace(said).is_some() {
                    return None;
                }
            }
            17 if is(b"transfer-encoding") => return None,
            _ => {}
        }
        // What another process wrote is not believed to be what it checked.
        if !syntax::is_name(name) || !syntax::is_value(value) {
            return None;
        }
        for piece in [name, b": ", value, b"\r\n"] {
            message.extend_from_slice(piece);
        }
    }
    length?;
    if !has_date {
        write_date(message);
    }
    Some(())
}

/// Tells the access log what is answered.
fn note(record: &mut Record, status: StatusCode, head: &Head<'_>, body: usize) {
    record.answered(status, |name| {
        let name = name.as_str().as_bytes();
        let mut fields = head.headers.iter();
        fields.find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
    });
    record.sent(body);
}

/// `Date`, made once a second.
fn write_date(message: &mut Vec<u8>) {
    let now = SystemTime::now();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(known, date)| {
        if *known != second {
            (*known, *date) = (second, httpdate::fmt_http_date(now));
        }
        for piece in [b"Date: ", date.as_bytes(), b"\r\n"] {
            message.extend_from_slice(piece);
        }
    });
}

async fn send<S: Socket>(wire: &RefCell<Wire<S>>, message: &[u8], body: &[u8]) -> io::Result<()> {
    let (mut message, mut body) = (message, body);
    poll_fn(|context| {
        while !message.is_empty() || !body.is_empty() {
            let both = [IoSlice::new(message), IoSlice::new(body)];
            let slices = match (message, body) {
                (_, []) => &both[..1],
                ([], _) => &both[1..],
                _ => &both[..],
            };
            let sent = ready!(wire.borrow_mut().poll_send(context, slices))?;
            let of_message = sent.min(message.len());
            message = &message[of_message..];
            body = &body[sent - of_message..];
        }
        Poll::Ready(Ok(()))
    })
    .await
    .inspect_err(|error| debug!(%error, "the client has gone"))
}
