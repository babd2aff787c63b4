//! The parser of a chunked body (RFC 9112 section 7.1), byte by byte.

use exchange::syntax::is_text;

use super::fault::{Fault, Limits};
use super::head::check_field;

/// Hexadecimal digits of a chunk size: 16 digits are 64 bits.
const MOST_DIGITS: u8 = 16;
/// The largest chunk size. Programs that use signed or floating-point numbers read larger ones differently.
const LARGEST: u64 = 1 << 53;
/// Bytes of the extensions of one chunk. Clients hardly ever send extensions.
const MOST_EXTENSION: u16 = 4096;

/// The state of the parser.
#[derive(Debug)]
pub(super) enum Chunked {
    /// In the size of a chunk, after this many digits.
    Size { digits: u8, size: u64 },
    /// In the chunk extensions after the size.
    Extension { length: u16, size: u64 },
    /// Before the line feed that ends the size line.
    SizeEnd(u64),
    /// In the data of a chunk; this many bytes remain, never 0.
    Data(u64),
    /// Before the line end after the data; `true` after its carriage return.
    DataEnd(bool),
    /// In the trailer section: the current line so far, and the number of lines before it.
    Trailer { line: Vec<u8>, fields: usize },
    /// After the end of the body.
    Over,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

impl Chunked {
    /// How many bytes were accepted, at least one.
    pub(super) fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<usize, Fault> {
        if let Self::Data(left) = self {
            let read = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
            *left -= read as u64;
            if *left == 0 {
                *self = Self::DataEnd(false);
            }
            return Ok(read);
        }
        self.byte(bytes[0], limits)?;
        Ok(1)
    }

    /// Whether the next byte is chunk data.
    pub(super) fn is_in_data(&self) -> bool {
        matches!(self, Self::Data(_))
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    fn byte(&mut self, byte: u8, limits: &Limits) -> Result<(), Fault> {
        let next = match self {
            Self::Size { digits, size } => Self::size(byte, *digits, *size)?,
            Self::Extension { length, size } => match byte {
                b'\r' => Self::SizeEnd(*size),
                byte if is_text(byte) && *length < MOST_EXTENSION => Self::Extension {
                    length: *length + 1,
                    size: *size,
                },
                _ => return Err(Fault::Malformed),
            },
            Self::SizeEnd(size) => match (byte, *size) {
                (b'\n', 0) => Self::Trailer {
                    line: Vec::new(),
                    fields: 0,
                },
                (b'\n', size) => Self::Data(size),
                _ => return Err(Fault::Malformed),
            },
            Self::DataEnd(false) if byte == b'\r' => Self::DataEnd(true),
            Self::DataEnd(true) if byte == b'\n' => Self::default(),
            Self::Trailer { line, fields } => {
                line.push(byte);
                if line.len() > limits.field.saturating_add(2) {
                    return Err(Fault::HeadTooLarge);
                }
                if byte != b'\n' {
                    return Ok(());
                }
                match line.strip_suffix(b"\r\n") {
                    None => return Err(Fault::Malformed),
                    Some([]) => Self::Over,
                    Some(field) => {
                        check_field(field, limits)?;
                        *fields += 1;
                        if *fields > limits.fields {
                            return Err(Fault::HeadTooLarge);
                        }
                        line.clear();
                        return Ok(());
                    }
                }
            }
            Self::DataEnd(_) | Self::Data(_) | Self::Over => return Err(Fault::Malformed),
        };
        *self = next;
        Ok(())
    }

    fn size(byte: u8, digits: u8, size: u64) -> Result<Self, Fault> {
        let digit = char::from(byte).to_digit(16);
        match (digit, byte) {
            (Some(digit), _) if digits < MOST_DIGITS => Ok(Self::Size {
                digits: digits + 1,
                size: size << 4 | u64::from(digit),
            }),
            _ if size > LARGEST => Err(Fault::Malformed),
            (None, b'\r') if digits > 0 => Ok(Self::SizeEnd(size)),
            (None, b';') if digits > 0 => Ok(Self::Extension { length: 1, size }),
            _ => Err(Fault::Malformed),
        }
    }
}
