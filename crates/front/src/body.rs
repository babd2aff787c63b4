//! The body of a request, read to its end before a thread is taken: in memory up to a limit, then in an unlinked
//! temporary file.

use std::cell::RefCell;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Seek, Write};
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming};
use tokio::time::timeout;
use tracing::error;

use crate::Settings;
use crate::refuse::Refusal;
use crate::wire::{Socket, Wire};

/// Bytes of a body that are kept in memory.
const IN_MEMORY: usize = 128 * 1024;

/// A whole body.
#[derive(Debug)]
pub(crate) enum Whole {
    Memory(Vec<u8>),
    /// A file and how many bytes it holds; read from its beginning.
    File(File, u64),
}

impl Whole {
    /// Where the application finds it.
    pub(crate) fn place(&self) -> exchange::Body<'_> {
        match self {
            Self::Memory(bytes) => exchange::Body::Memory(bytes),
            Self::File(_, size) => exchange::Body::File(*size),
        }
    }
}

/// Reads the body.
pub(crate) async fn read(mut body: Incoming, settings: &Settings) -> Result<Whole, Refusal> {
    if body.size_hint().lower() > settings.limit_request_body {
        return Err(Refusal::BodyTooLarge);
    }
    let (mut memory, mut file) = (Vec::new(), None::<(File, u64)>);
    let (began, mut so_far) = (Instant::now(), 0);
    while let Some(data) = next(&mut body, pause(settings, began, so_far)?).await? {
        if so_far + data.len() as u64 > settings.limit_request_body {
            return Err(Refusal::BodyTooLarge);
        }
        so_far += data.len() as u64;
        match &mut file {
            None if memory.len() + data.len() <= IN_MEMORY => memory.extend_from_slice(&data),
            None => {
                let (mut new, size) = spill(&memory).map_err(|error| no_storage(&error))?;
                new.write_all(&data).map_err(|error| no_storage(&error))?;
                file = Some((new, size + data.len() as u64));
            }
            Some((file, size)) => {
                // A write to the page cache: the pauses that it can make are shorter than those of a thread pool's.
                file.write_all(&data).map_err(|error| no_storage(&error))?;
                *size += data.len() as u64;
            }
        }
    }
    match file {
        None => Ok(Whole::Memory(memory)),
        Some((mut file, size)) => {
            file.rewind().map_err(|error| no_storage(&error))?;
            Ok(Whole::File(file, size))
        }
    }
}

/// How many bytes of a body are to come that is short enough to be read by [`read_plainly`].
pub(crate) fn plain_length(left: Option<u64>, settings: &Settings) -> Option<usize> {
    let length = usize::try_from(left?).ok()?;
    (length <= IN_MEMORY && length as u64 <= settings.limit_request_body).then_some(length)
}

/// Reads a body of this length, which needs no decoding, from the wire itself.
pub(crate) async fn read_plainly<S: Socket>(
    wire: &RefCell<Wire<S>>,
    length: usize,
    settings: &Settings,
) -> Result<Whole, Refusal> {
    let mut body = Vec::with_capacity(length);
    let began = Instant::now();
    while body.len() < length {
        let pause = pause(settings, began, body.len() as u64)?;
        let more = poll_fn(|context| wire.borrow_mut().poll_body(context, &mut body, length));
        match timeout(pause, more).await {
            Err(_) => return Err(Refusal::BodyTooSlow),
            Ok(Err(_)) => return Err(Refusal::BodyBroken),
            Ok(Ok(())) => {}
        }
    }
    Ok(Whole::Memory(body))
}

/// Moves a body from memory to a file.
pub(crate) fn to_file(memory: &[u8]) -> Result<Whole, Refusal> {
    let (mut file, size) = spill(memory).map_err(|error| no_storage(&error))?;
    file.rewind().map_err(|error| no_storage(&error))?;
    Ok(Whole::File(file, size))
}

fn spill(memory: &[u8]) -> io::Result<(File, u64)> {
    let mut file = tempfile::tempfile()?;
    file.write_all(memory)?;
    Ok((file, memory.len() as u64))
}

fn no_storage(error: &io::Error) -> Refusal {
    error!(%error, folder = %std::env::temp_dir().display(), "cannot store the body of a request");
    Refusal::NoStorage
}

/// How long a body may pause that has brought so many bytes since it began: never longer than `--body-timeout`, and not
/// beyond the time at which so many bytes are too few for `--min-rate`.
fn pause(settings: &Settings, began: Instant, so_far: u64) -> Result<Duration, Refusal> {
    let Some(earned) = so_far.saturating_mul(1000).checked_div(settings.min_rate) else {
        return Ok(settings.body_timeout);
    };
    let allowed = settings
        .body_timeout
        .saturating_add(Duration::from_millis(earned));
    match allowed.checked_sub(began.elapsed()) {
        Some(left) => Ok(left.min(settings.body_timeout)),
        None => Err(Refusal::BodyTooSlow),
    }
}

/// The next data of the body; trailers are passed over.
async fn next(body: &mut Incoming, pause: Duration) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        match timeout(pause, frame).await {
            Err(_) => return Err(Refusal::BodyTooSlow),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Refusal::BodyBroken),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = Frame::into_data(frame) {
                    return Ok(Some(data));
                }
            }
        }
    }
}
