//! What a client sends: however it is cut, the same is handed on, and hyper can read every head of it, its target aside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parse::{Fault, Limits, Parser};

#[path = "../../crates/front/src/http/parse/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the front uses more of it")]
mod parse;

const LIMITS: Limits = Limits {
    line: 200,
    fields: 10,
    field: 200,
    head: 2000,
};

/// Reads pieces of these lengths in turn, as a connection does; gives what was handed on, where each head of it ends,
/// and the fault.
fn read(bytes: &[u8], lengths: &[u8]) -> (Vec<u8>, Vec<usize>, Option<Fault>) {
    let mut parser = Parser::new(LIMITS);
    let (mut waiting, mut handed_on, mut heads) = (Vec::new(), Vec::new(), Vec::new());
    let mut lengths = lengths.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = lengths.next().map_or(rest.len(), |&length| {
            usize::from(length).clamp(1, rest.len())
        });
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        waiting.extend_from_slice(piece);
        while !waiting.is_empty() {
            let (length, fault) = if parser.in_body() {
                let good = parser.body(&waiting, |_| {});
                (good.bytes, good.fault)
            } else {
                match parser.head(&waiting) {
                    Ok(Some(index)) => {
                        heads.push(handed_on.len());
                        (index.length, None)
                    }
                    Ok(None) => (0, None),
                    Err(fault) => (0, Some(fault)),
                }
            };
            handed_on.extend(waiting.drain(..length));
            if fault.is_some() {
                return (handed_on, heads, fault);
            }
            if length == 0 {
                break;
            }
        }
    }
    (handed_on, heads, None)
}

/// The head with a letter for each character of the target that clients send as it is, which hyper refuses and Apache and
/// nginx serve.
fn with_letters(head: &[u8]) -> Vec<u8> {
    let start = head.iter().position(|byte| !b"\r\n".contains(byte));
    let mut line = start.unwrap_or(head.len())..head.len();
    if let Some(length) = head[line.clone()].iter().position(|&byte| byte == b'\r') {
        line.end = line.start + length;
    }
    let mut head = head.to_vec();
    for byte in &mut head[line] {
        if b"\"<>`".contains(byte) || !byte.is_ascii() {
            *byte = b'x';
        }
    }
    head
}

/// Whether hyper's parser, and the types that it fills, take what begins with a head.
fn hyper_takes(bytes: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {
            let known = |field: &httparse::Header<'_>| {
                http::HeaderName::from_bytes(field.name.as_bytes()).is_ok()
                    && http::HeaderValue::from_bytes(field.value).is_ok()
            };
            request
                .path
                .is_some_and(|path| http::Uri::try_from(path).is_ok())
                && request
                    .method
                    .is_some_and(|method| http::Method::from_bytes(method.as_bytes()).is_ok())
                && request.headers.iter().all(known)
        }
        _ => false,
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    // Both ends of the input are used: how it is cut stands behind what is cut.
    let (lengths, bytes) = input;
    let (whole, heads, fault) = read(bytes, &[]);
    assert!(bytes.starts_with(&whole));
    let (pieces, _, fault_of_pieces) = read(bytes, lengths);
    assert_eq!((&whole, fault), (&pieces, fault_of_pieces));
    for head in heads {
        let head = &whole[head..];
        assert!(hyper_takes(&with_letters(head)), "{}", head.escape_ascii());
    }
});
