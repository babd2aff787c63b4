//! The start-up message.

use supervisor::Serving;

use crate::config::{Config, LogLevel, show_size};
use crate::host::sizing::Sizing;
use crate::log;

/// Prints where the server listens, its processes and how to stop it; then the line that other programs wait for.
pub(crate) fn show(config: &Config, sizing: &Sizing, serving: &Serving) {
    let pid = std::process::id();
    if !matches!(config.log_level, LogLevel::Error | LogLevel::Warn) {
        let loaded = if serving.preload {
            "loaded once and shared"
        } else if sizing.loads_alone(config) {
            "loaded in it, as there is none to share with"
        } else {
            "loaded in each process"
        };
        let text = format!(
            "rwsgi {version} serves {app}\n\
             \x20 where   {urls}\n\
             \x20 pool    {pool} x {threads} thread{s} (stack {stack}), application {loaded}\n\
             \x20 python  {about}\n\
             \x20 stop    Ctrl-C, or: kill -TERM {pid}\n",
            version = env!("CARGO_PKG_VERSION"),
            app = config.app,
            urls = serving.urls.join("  "),
            pool = sizing.describe(),
            threads = config.threads,
            s = if config.threads == 1 { "" } else { "s" },
            stack = show_size(config.stack_size),
            about = serving.about,
        );
        log::greet(&text);
    }
    // Other programs wait for this line, whatever the log level is.
    log::always(
        &[("url", &serving.urls.join(",")), ("pid", &pid.to_string())],
        "ready",
    );
}
