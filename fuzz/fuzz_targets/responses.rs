//! What a child says that a response is: either it is refused, or what is written is read as just that.
#![no_main]

use encode::{Framing, RequestTraits, head};
use exchange::{Head, HeaderWriter};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/front/src/http1/encode.rs"]
#[expect(dead_code, reason = "the front uses more of it")]
mod encode;

#[path = "../../crates/front/src/http/response_head.rs"]
mod response_head;

mod http {
    pub(crate) use crate::response_head;
}

/// Fields that the front decides about.
const FRAMING: [&str; 4] = [
    "connection",
    "keep-alive",
    "content-length",
    "transfer-encoding",
];

type Field<'a> = (&'a [u8], &'a [u8]);
type Input<'a> = (u16, &'a [u8], Vec<Field<'a>>, Option<u32>, [bool; 3]);

fuzz_target!(|input: Input<'_>| {
    let (status, reason, given, length, [is_http10, is_head, persists]) = input;
    // So many the reader below has room for, with those of the front.
    if given.len() > 28 {
        return;
    }
    let mut writer = HeaderWriter::default();
    for (name, value) in &given {
        writer.push(name, value);
    }
    let response = Head {
        status,
        reason,
        headers: writer.headers(),
    };
    let asked = RequestTraits {
        is_http10,
        is_head,
        persists,
    };
    let mut out = Vec::new();
    let date = |out: &mut Vec<u8>| out.extend_from_slice(b"now");
    let Ok(form) = head(&response, length.map(u64::from), asked, date, &mut out) else {
        return;
    };
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut read = httparse::Response::new(&mut fields);
    let parsed = read.parse(&out).map(|status| status.unwrap());
    assert_eq!(parsed, Ok(out.len()), "{}", out.escape_ascii());
    assert_eq!(read.version, Some(u8::from(!is_http10)));
    assert_eq!(read.code, Some(status));
    let is_framing = |name: &[u8]| {
        let known = |framing: &&str| name.eq_ignore_ascii_case(framing.as_bytes());
        FRAMING.iter().any(|framing| known(&framing))
    };
    let has = |wanted: &str| {
        let found = read
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(wanted));
        found.map(|field| field.value).collect::<Vec<_>>()
    };
    let kept = given.iter().filter(|(name, _)| !is_framing(name));
    let got = read
        .headers
        .iter()
        .filter(|field| !is_framing(field.name.as_bytes()));
    let mut got: Vec<Field<'_>> = got
        .map(|field| (field.name.as_bytes(), field.value))
        .collect();
    if !given
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case(b"date"))
    {
        assert_eq!(got.pop(), Some((&b"Date"[..], &b"now"[..])));
    }
    // The reader leaves out the white space around a value.
    let kept: Vec<Field<'_>> = kept
        .map(|(name, value)| (*name, value.trim_ascii()))
        .collect();
    let got: Vec<Field<'_>> = got
        .into_iter()
        .map(|(name, value)| (name, value.trim_ascii()))
        .collect();
    assert_eq!(got, kept);
    let lengths = has("content-length");
    match form.framing {
        Framing::Length(length) => {
            // As the application wrote it, which may be with zeros before it.
            let told = lengths
                .iter()
                .map(|told| std::str::from_utf8(told).unwrap());
            let told: Vec<u64> = told.map(|told| told.parse().unwrap()).collect();
            assert_eq!(told, [length]);
        }
        Framing::NoBody => assert!(lengths.len() <= 1),
        Framing::Chunked | Framing::Close => assert!(lengths.is_empty()),
    }
    let codings = has("transfer-encoding");
    assert_eq!(codings.len(), usize::from(form.framing == Framing::Chunked));
    assert_eq!(form.persists, has("connection") != [b"close"]);
    assert!(persists || !form.persists);
});
