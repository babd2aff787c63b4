//! What is told of lines that were lost.

use std::time::Duration;

use super::counts::Lost;

/// How often it is tried to tell of what was lost.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Turns a number of lost lines into the lines that say so.
pub type Notice = fn(u64) -> String;

/// What was lost in words; after a torn line, on a line of its own.
pub(super) fn tell(lost: Lost, notice: Notice) -> String {
    let newline = if lost.torn { "\n" } else { "" };
    let notice = if lost.lines > 0 {
        notice(lost.lines)
    } else {
        String::new()
    };
    format!("{newline}{notice}")
}

/// How many lines these are, a last one without its end included.
pub(super) fn lines(entry: &[u8]) -> u64 {
    entry.split_inclusive(|byte| *byte == b'\n').count() as u64
}
