//! How a connection without TLS says that it speaks HTTP/2: by its first bytes (RFC 9113 section 3.3).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4). No request of HTTP/1 does.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads as many bytes as tell which version is spoken, into `bytes`; less when the client closes.
///
/// What has been read is in `bytes` also when this is dropped before its end.
///
/// # Errors
/// Those of the stream.
pub(crate) async fn first_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    while bytes.len() < PREFACE.len() && PREFACE.starts_with(bytes) {
        let left = PREFACE.len() - bytes.len();
        if (&mut *stream).take(left as u64).read_buf(bytes).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Whether these first bytes are those of HTTP/2.
pub(crate) fn is_preface(bytes: &[u8]) -> bool {
    bytes == PREFACE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_read_than_tells_the_version() {
        for (sent, read, is_http2) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore"[..], 24, true),
            (b"PRI * HTTP/2.0\r\n\r\nSM", 20, false),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", 24, false),
            (b"P", 1, false),
            (b"", 0, false),
        ] {
            let (mut stream, mut bytes) = (sent, Vec::new());
            first_bytes(&mut stream, &mut bytes).await.unwrap();
            assert_eq!((bytes.len(), is_preface(&bytes)), (read, is_http2));
            assert_eq!([&bytes, stream].concat(), sent);
        }
    }
}
