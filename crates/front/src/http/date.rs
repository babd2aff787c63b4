//! The `Date` field of responses.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// The value of `Date` (RFC 9110 section 6.6.1), formatted once per second.
#[derive(Debug, Default)]
pub(crate) struct Date(RefCell<(u64, String)>);

impl Date {
    /// Appends the value.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let now = SystemTime::now();
        let second = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut made = self.0.borrow_mut();
        if made.0 != second || made.1.is_empty() {
            *made = (second, httpdate::fmt_http_date(now));
        }
        out.extend_from_slice(made.1.as_bytes());
    }
}
