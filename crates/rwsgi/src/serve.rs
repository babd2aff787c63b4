//! From the options to a running server: what the supervisor does before it supervises.

use std::sync::Arc;

use exchange::{Exchange, Geometry};
use supervisor::{BindError, Listener};
use tracing::error;

use crate::options::{Config, Preload};
use crate::roles::Roles;
use crate::{announce, exit, log};

/// Serves until told to stop.
pub(crate) fn run(config: Config) -> u8 {
    // Listeners first: their paths are absolute, and a taken address should be said before anything else is done.
    let listeners = match listen(&config) {
        Ok(listeners) => listeners,
        Err(problem) => {
            error!(error = %format!("{problem}{}", log::causes(std::error::Error::source(&problem))), "cannot listen");
            return if problem.is_in_use() {
                exit::ADDRESS_IN_USE
            } else {
                exit::CONFIGURATION
            };
        }
    };
    if let Some(folder) = &config.chdir
        && let Err(problem) = std::env::set_current_dir(folder)
    {
        error!(folder = %folder.display(), error = %problem, "cannot change the folder");
        return exit::CONFIGURATION;
    }
    let exchange = match make_exchange(&config) {
        Ok(exchange) => Arc::new(exchange),
        Err(problem) => {
            error!(error = %problem, "cannot make the exchange");
            return exit::CANNOT_START;
        }
    };
    let settings = supervisor::Settings {
        processes: config.processes,
        preload: match config.preload {
            Preload::Auto => supervisor::Preload::Auto,
            Preload::On => supervisor::Preload::On,
            Preload::Off => supervisor::Preload::Off,
        },
        startup_timeout: config.startup_timeout,
        shutdown_timeout: config.shutdown_timeout,
        title: config.app.to_string(),
    };
    let roles = Roles {
        config: &config,
        exchange: Arc::clone(&exchange),
    };
    let announce = |serving: &supervisor::Serving| announce::serving(&config, serving);
    supervisor::run(&settings, listeners, &exchange, &announce, &roles).code()
}

fn listen(config: &Config) -> Result<Vec<Listener>, BindError> {
    let handed_down = Listener::from_systemd(|name| std::env::var(name).ok())?;
    if !handed_down.is_empty() && !config.bind_given {
        return Ok(handed_down);
    }
    let mut listeners = handed_down;
    for address in &config.bind {
        listeners.extend(Listener::open(address, config.backlog)?);
    }
    Ok(listeners)
}

fn make_exchange(config: &Config) -> std::io::Result<Exchange> {
    let threads = u8::try_from(config.threads).map_err(std::io::Error::other)?;
    Exchange::create(Geometry {
        children: config.processes,
        threads,
        queue: config.max_queue,
    })
}
