//! The limits of a request, and the errors of reading one.

/// The limits of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the request line.
    pub(crate) line: usize,
    /// Header fields, and trailer fields.
    pub(crate) fields: usize,
    /// Bytes of one field line.
    pub(crate) field: usize,
    /// Bytes of the whole head.
    pub(crate) head: usize,
}

/// Why reading from the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not HTTP, or is ambiguous.
    Malformed,
    /// The request line is longer than [`Limits::line`].
    LineTooLong,
    /// The fields are more or longer than [`Limits`] permits.
    HeadTooLarge,
    /// The version is neither 1.0 nor 1.1 (RFC 9110 section 15.6.6).
    Version,
    /// A transfer coding (RFC 9112 section 6.1) or a method (CONNECT) that is not supported.
    NotServed,
}
