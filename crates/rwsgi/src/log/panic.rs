//! Logs a panic like any other line. Rust's default hook would block on standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write;
use std::panic::PanicHookInfo;

use supervisor::sink;
use tracing::Level;

use super::style::{Style, Value};

/// Installs the panic hook.
pub(super) fn report() {
    std::panic::set_hook(Box::new(|panic| sink::write(entry(panic).as_bytes())));
}

fn entry(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("no message");
    let mut fields = Vec::new();
    if let Some(place) = panic.location() {
        fields.push(("panic".to_owned(), Value::Text(place.to_string())));
    }
    let mut entry = Style::now().line(Level::ERROR, &fields, message);
    // Captured when RUST_BACKTRACE asks for it.
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        // Writing to a string does not fail.
        let _ = write!(
            entry,
            "{}",
            Style::now().text(Level::ERROR, &trace.to_string())
        );
    }
    entry
}
