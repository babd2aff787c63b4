//! What HTTP itself costs: the front's runtime and hyper, with a constant response and no application behind it.
//!
//! `benches/hop.py` and `benches/peers` measure the server against this program, so both must do the same work per
//! connection: the runtime, the socket's options and hyper's limits are those of the front with its default
//! settings.
//!
//! Usage: `bare PORT [hello|fields|large|chunks]`; the responses are those of
//! `benches/peers/applications/plain.py`.

use std::convert::Infallible;
use std::error::Error;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

/// The body of `benches/hello.py`.
const HELLO: &[u8] = b"Hello, world!\n";
const LARGE: &[u8] = &[b'x'; 1024 * 1024];
const CHUNK: &[u8] = &[b'x'; 1024];
/// The longest head that the front's default limits allow: 8190 bytes of request line, 100 fields of 8190 bytes.
const LONGEST_HEAD: usize = 8190 + 100 * 8190;

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: bare PORT [ANSWER]")?;
    let name = std::env::args().nth(2);
    let kind = Kind::named(name.as_deref().unwrap_or("hello")).ok_or("no such answer")?;
    let address = (Ipv4Addr::LOCALHOST, port.parse()?);
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            spawn_local(live(stream, kind));
        }
    })
}

/// Which response is sent.
#[derive(Clone, Copy)]
enum Kind {
    Hello,
    /// "Hello" with six header fields.
    Fields,
    /// 1 MiB in one piece.
    Large,
    /// 100 KiB in 100 parts, without Content-Length.
    Chunks,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        match name {
            "hello" => Some(Self::Hello),
            "fields" => Some(Self::Fields),
            "large" => Some(Self::Large),
            "chunks" => Some(Self::Chunks),
            _ => None,
        }
    }
}

async fn live(stream: TcpStream, kind: Kind) {
    // Errors of a connection are not reported.
    let _ = http1::Builder::new()
        .keep_alive(true)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answer(request, kind)),
        )
        .await;
}

async fn answer(_: Request<Incoming>, kind: Kind) -> Result<Response<Parts>, Infallible> {
    let body = match kind {
        Kind::Hello | Kind::Fields => Parts::whole(HELLO),
        Kind::Large => Parts::whole(LARGE),
        Kind::Chunks => Parts {
            part: CHUNK,
            left: 100,
            length: None,
        },
    };
    let mut response = Response::new(body);
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if matches!(kind, Kind::Fields) {
        let kept = "max-age=0, no-cache, no-store, must-revalidate, private";
        fields.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
        fields.insert(VARY, HeaderValue::from_static("Cookie, Accept-Language"));
        fields.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    Ok(response)
}

/// A body that repeats the same part and never waits.
struct Parts {
    part: &'static [u8],
    left: usize,
    /// Bytes left in the body, where Content-Length is sent.
    length: Option<u64>,
}

impl Parts {
    fn whole(part: &'static [u8]) -> Self {
        Self {
            part,
            left: 1,
            length: Some(part.len() as u64),
        }
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
