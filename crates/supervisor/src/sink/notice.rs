//! The report about lost lines.

use std::time::Duration;

use super::counts::Lost;

/// The interval of attempts to report lost lines.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Formats a number of lost lines as log lines.
pub type Notice = fn(u64) -> String;

/// Formats the report; after a torn line, it starts on a line of its own.
pub(super) fn format_report(lost: Lost, notice: Notice) -> String {
    let newline = if lost.torn { "\n" } else { "" };
    let notice = if lost.lines > 0 {
        notice(lost.lines)
    } else {
        String::new()
    };
    format!("{newline}{notice}")
}

/// The number of lines, including an unfinished last one.
pub(super) fn lines(entry: &[u8]) -> u64 {
    entry.split_inclusive(|byte| *byte == b'\n').count() as u64
}
