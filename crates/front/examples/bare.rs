//! What HTTP itself costs: the front's runtime and hyper, with an answer that is always the same and comes from nobody.
//!
//! `benches/hop.py` measures the server against this program, so both must do the same for a connection: the runtime, the
//! socket's options and hyper's limits are those of the front with its default settings.
//!
//! Usage: `bare PORT`

use std::convert::Infallible;
use std::error::Error;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

/// What `benches/hello.py` answers, too.
const HELLO: &[u8] = b"Hello, world!\n";
/// The longest head that the front's default limits allow: 8190 bytes of request line, 100 fields of 8190 bytes.
const LONGEST_HEAD: usize = 8190 + 100 * 8190;

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: bare PORT")?;
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
            spawn_local(live(stream));
        }
    })
}

async fn live(stream: TcpStream) {
    // How a connection ends is its client's affair.
    let _ = http1::Builder::new()
        .keep_alive(true)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
}

async fn answer(_: Request<Incoming>) -> Result<Response<Whole>, Infallible> {
    let mut response = Response::new(Whole(Some(Bytes::from_static(HELLO))));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// A body that is there at once.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |data| data.len() as u64))
    }
}
