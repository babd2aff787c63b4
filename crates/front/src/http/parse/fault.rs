//! What bounds a request, and why it is not read.

/// What bounds a head.
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

/// Why the connection cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not HTTP, or can be read in two ways.
    Malformed,
    /// The request line is longer than [`Limits::line`].
    LineTooLong,
    /// There are more or longer fields than [`Limits`] say.
    HeadTooLarge,
    /// The version is neither 1.0 nor 1.1 (RFC 9110 section 15.6.6).
    Version,
    /// A transfer coding (RFC 9112 section 6.1) or a method (CONNECT) that is not served.
    NotServed,
}
