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
            error!(error = log::chain(&problem), "cannot listen");
            return if problem.is_in_use() {
                exit::ADDRESS_IN_USE
            } else {
                exit::CONFIGURATION
            };
        }
    };
    // The front opens it again for itself; only here a mistake can still be told before anything is started.
    if let Some(target) = &config.access_log
        && let Err(problem) = target.check()
    {
        listeners.iter().for_each(Listener::remove_file);
        error!(log = %target, error = %problem, "cannot open the access log");
        return exit::CONFIGURATION;
    }
    if !enter_folder(&config) {
        listeners.iter().for_each(Listener::remove_file);
        return exit::CONFIGURATION;
    }
    let exchange = match make_exchange(&config) {
        Ok(exchange) => Arc::new(exchange),
        Err(problem) => {
            listeners.iter().for_each(Listener::remove_file);
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

/// Changes to `--chdir`; says so when that is not possible.
pub(crate) fn enter_folder(config: &Config) -> bool {
    let Some(folder) = &config.chdir else {
        return true;
    };
    let entered = std::env::set_current_dir(folder);
    if let Err(problem) = &entered {
        error!(folder = %folder.display(), error = %problem, "cannot change the folder");
    }
    entered.is_ok()
}

/// Opens all listeners, or none: what was opened before a failure leaves no file behind.
fn listen(config: &Config) -> Result<Vec<Listener>, BindError> {
    let handed_down = Listener::from_systemd(|name| std::env::var(name).ok())?;
    if !handed_down.is_empty() && !config.bind_given {
        return Ok(handed_down);
    }
    let mut listeners = handed_down;
    for address in &config.bind {
        match Listener::open(address, config.backlog) {
            Ok(more) => listeners.extend(more),
            Err(problem) => {
                listeners.iter().for_each(Listener::remove_file);
                return Err(problem);
            }
        }
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
