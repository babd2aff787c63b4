//! Character classes of request targets, as a table: each byte of a target is looked up.

/// A character that the `http` crate accepts in a path, and (below) in a query.
const PATH: u8 = 1;
const QUERY: u8 = 2;
/// A character of a host name other than a percent escape (RFC 3986 section 3.2.2). The comma is excluded, because
/// two Host fields that a proxy has joined are still two.
const NAME: u8 = 4;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    // Path and query exclude bytes beyond ASCII and fragments, which clients never send.
    let mut byte = 0x21u8;
    while byte < 0x7f {
        let letter_or_digit = byte.is_ascii_alphanumeric();
        let mut class = 0;
        if !is_one_of(byte, b"#<>`") {
            class |= PATH;
        }
        if !is_one_of(byte, b"#<>\"") {
            class |= QUERY;
        }
        if letter_or_digit || is_one_of(byte, b"-._~!$&'()*+;=") {
            class |= NAME;
        }
        classes[byte as usize] = class;
        byte += 1;
    }
    classes
}

const fn is_one_of(byte: u8, bytes: &[u8]) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

pub(crate) fn is_path(byte: u8) -> bool {
    is(byte, PATH)
}

pub(super) fn is_query(byte: u8) -> bool {
    is(byte, QUERY)
}

pub(super) fn is_name(byte: u8) -> bool {
    is(byte, NAME)
}
