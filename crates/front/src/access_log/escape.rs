//! Escaping of client bytes for log lines, so that no client can end a line or forge one.

use std::io::Write;

/// As Apache escapes: a backslash before quotes and backslashes, `\xhh` for control characters and bytes beyond
/// ASCII.
pub(super) fn text(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            b' '..=b'~' => out.push(byte),
            _ => {
                // Writing to memory does not fail.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

/// A JSON string (RFC 8259 section 7). Bytes that are not valid UTF-8 are read as latin-1, as in PEP 3333.
pub(super) fn json(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().for_each(|char| json_char(char, out)),
        Err(_) => bytes
            .iter()
            .for_each(|&byte| json_char(char::from(byte), out)),
    }
    out.push(b'"');
}

fn json_char(char: char, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = match char {
        '"' | '\\' => write!(out, "\\{char}"),
        // Beyond what JSON requires: programs that show logs may take these for terminal commands or line ends.
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
            write!(out, "\\u{:04x}", u32::from(char))
        }
        char => write!(out, "{char}"),
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(escape: fn(&[u8], &mut Vec<u8>), bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn line_and_field_ends_are_escaped() {
        assert_eq!(
            escaped(text, b"a\"b\\c\r\n\t\x00\x1b\x7f\xe4"),
            r#"a\"b\\c\r\n\t\x00\x1b\x7f\xe4"#
        );
        assert_eq!(escaped(json, b"a\"b\\c\n\x7f"), r#""a\"b\\c\u000a\u007f""#);
        assert_eq!(escaped(json, "\u{e4}".as_bytes()), "\"\u{e4}\"");
        assert_eq!(escaped(json, b"\xe4"), "\"\u{e4}\"");
    }

    proptest! {
        #[test]
        fn any_bytes_stay_on_their_line(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(escaped(text, &bytes).bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert!(!escaped(json, &bytes).chars().any(char::is_control));
        }

        #[test]
        fn two_inputs_never_look_alike(a in prop::collection::vec(any::<u8>(), 0..20), b in prop::collection::vec(any::<u8>(), 0..20)) {
            prop_assert_eq!(a == b, escaped(text, &a) == escaped(text, &b));
        }
    }
}
