//! The characters that header fields may have: the same rules for what clients send and what applications answer.

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21u8;
    while byte < 0x7f {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};

/// A character of a token (RFC 9110 section 5.6.2).
#[must_use]
pub fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether this is a token, such as a method or the name of a field.
#[must_use]
pub fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token(byte))
}

/// A character of a field's value (RFC 9110 section 5.5), or of a reason phrase.
#[must_use]
pub fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Whether all are characters of a value. Does not stop at the first that is not, so that the loop is vectorized.
#[must_use]
pub fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, &byte| all & is_text(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_values_have_their_characters() {
        let separators = b"\"(),/:;<=>?@[\\]{}";
        for byte in 0..=255 {
            let graphic = (0x21..0x7f).contains(&byte);
            assert_eq!(
                is_token(byte),
                graphic && !separators.contains(&byte),
                "{byte}"
            );
            let control = byte < 0x20 || byte == 0x7f;
            assert_eq!(is_value(&[b'a', byte]), !control || byte == b'\t', "{byte}");
        }
        assert!(is_value(b"") && !is_name(b""));
    }
}
