//! Character classes of request targets, as a table: each byte of a target is looked up.

/// A character of a path or of a query.
const TARGET: u8 = 1;
/// A character of a host name other than a percent escape (RFC 3986 section 3.2.2). The comma is excluded, because
/// two Host fields that a proxy has joined are still two.
const NAME: u8 = 2;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0xffu8;
    while byte > b' ' {
        let letter_or_digit = byte.is_ascii_alphanumeric();
        let mut class = 0;
        // RFC 3986 has fewer. Clients send others as they are, such as quotes, brackets and bytes of UTF-8, and Apache and nginx
        // serve them: nothing but spaces, control characters and the fragment's # can be read in two ways.
        if byte != b'#' && byte != 0x7f {
            class |= TARGET;
        }
        if letter_or_digit || is_one_of(byte, b"-._~!$&'()*+;=") {
            class |= NAME;
        }
        classes[byte as usize] = class;
        byte -= 1;
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

pub(crate) fn is_target(byte: u8) -> bool {
    is(byte, TARGET)
}

pub(super) fn is_name(byte: u8) -> bool {
    is(byte, NAME)
}
