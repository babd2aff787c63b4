//! From the options to a running server: everything before the supervisor's loop.

use std::cell::RefCell;
use std::sync::Arc;

use exchange::Exchange;
use supervisor::control::Control;
use supervisor::{BindError, Inheritance, Listener, Predecessor, TAKE_OVER, exit};
use tracing::{error, warn};

use super::banner;
use crate::config::{Config, Started};
use crate::host::invocation::Invocation;
use crate::host::pid_file::PidFile;
use crate::host::release::Release;
use crate::host::sizing::Sizing;
use crate::host::{identity, runtime_dir};
use crate::log;
use crate::process::roles::Roles;
use crate::process::settings;

/// Serves until told to stop.
pub(crate) fn run(config: Config, invocation: Invocation) -> u8 {
    if let Some(mask) = config.umask {
        supervisor::set_umask(mask);
    }
    // Listeners first: their paths are absolute, and a taken address should be reported before anything else is
    // done.
    let (listeners, predecessor) = match listen(&config) {
        Ok(found) => found,
        Err(problem) => {
            error!(error = log::chain(&problem), "cannot listen");
            return if problem.may_pass() {
                exit::UNAVAILABLE
            } else {
                exit::CONFIGURATION
            };
        }
    };
    let prepared = match prepare(&config, &invocation, &listeners, predecessor.is_some()) {
        Ok(prepared) => prepared,
        Err(code) => {
            listeners.iter().for_each(Listener::remove_file);
            return code;
        }
    };
    let Prepared {
        sizing,
        exchange,
        started,
        release,
        control,
        pid_file,
    } = prepared;
    let pid_file = RefCell::new(pid_file);
    let settings = supervisor::Settings {
        takes_over: predecessor.is_some(),
        ..settings::supervisor(&config, &sizing, &invocation)
    };
    let roles = Roles::new(
        release,
        Arc::clone(&exchange),
        invocation,
        started,
        sizing.limit,
        predecessor,
    );
    let announce = |serving: &supervisor::Serving| {
        banner::show(&config, &sizing, serving);
        if settings.takes_over {
            // A failure has been reported; the server serves anyway.
            pid_file.replace(PidFile::write(&config).ok().flatten());
        }
        roles.relieve_predecessor();
    };
    let code = supervisor::run(&settings, listeners, &exchange, control, &announce, &roles).code();
    pid_file.take().iter().for_each(PidFile::remove);
    code
}

/// The resources of a server besides its listeners.
struct Prepared {
    sizing: Sizing,
    exchange: Arc<Exchange>,
    started: Started,
    release: Release,
    control: Option<Control>,
    pid_file: Option<PidFile>,
}

/// Prepares all of them, or reports an error and returns the exit code. The files by which others find the server
/// come last.
fn prepare(
    config: &Config,
    invocation: &Invocation,
    listeners: &[Listener],
    takes_over: bool,
) -> Result<Prepared, u8> {
    identity::prepare(config, listeners)?;
    let release = Release::find(config.clone(), invocation.folder()).map_err(|problem| {
        error!("{problem}");
        exit::CONFIGURATION
    })?;
    // Each mold enters the application's folder itself. The supervisor and the front stay in `/`, so that no folder
    // is kept from being removed or unmounted: all their paths are absolute.
    if let Err(problem) = std::env::set_current_dir("/") {
        error!(error = %problem, "cannot enter /");
        return Err(exit::CANNOT_START);
    }
    let sizing = Sizing::of(config);
    sizing.log();
    let exchange = Exchange::create(sizing.geometry(config)).map_err(|problem| {
        error!(error = %problem, "cannot make the exchange");
        exit::CANNOT_START
    })?;
    let started = invocation.read().map_err(|problem| {
        error!(error = log::chain(&problem), "the options cannot be read");
        exit::CONFIGURATION
    })?;
    let (control, pid_file) = create_files(config, takes_over)?;
    Ok(Prepared {
        sizing,
        exchange: Arc::new(exchange),
        started,
        release,
        control,
        pid_file,
    })
}

/// Creates the files by which others find the server, all or none. A successor leaves those of its predecessor
/// until it serves.
fn create_files(
    config: &Config,
    takes_over: bool,
) -> Result<(Option<Control>, Option<PidFile>), u8> {
    let control = runtime_dir::open_control(config, takes_over)?;
    if takes_over {
        return Ok((control, None));
    }
    let pid_file =
        PidFile::write(config).inspect_err(|_| control.iter().for_each(Control::remove_file))?;
    Ok((control, pid_file))
}

/// Opens all listeners, or none: after a failure, the files of those opened before are removed. Listeners of a
/// predecessor are taken over as they are.
fn listen(config: &Config) -> Result<(Vec<Listener>, Option<Predecessor>), BindError> {
    let handed_over = std::env::var(TAKE_OVER).ok();
    if let Some(inheritance) = Inheritance::take(handed_over.as_deref(), config.identity.as_ref())?
    {
        let (listeners, predecessor) = inheritance.split();
        compare_addresses(config, &listeners);
        return Ok((listeners, Some(predecessor)));
    }
    Ok((open(config)?, None))
}

/// Reports addresses that differ from those of the predecessor: its listeners are taken over as they are.
fn compare_addresses(config: &Config, listeners: &[Listener]) {
    for listener in listeners {
        if let Err(problem) = listener.set_backlog(config.backlog) {
            warn!(url = listener.url(), error = %problem, "the backlog stays as it was");
        }
    }
    // Listeners that systemd has opened for the first server are not in the configuration.
    let handed_down = std::env::var_os("LISTEN_FDS").is_some();
    let kept = listeners.iter().filter(|listener| {
        !handed_down && !config.bind.iter().any(|address| listener.is_of(address))
    });
    let kept: Vec<_> = kept.map(Listener::url).collect();
    let missing = config.bind.iter().filter(|address| {
        (config.bind_given || !handed_down)
            && !listeners.iter().any(|listener| listener.is_of(address))
    });
    let missing: Vec<_> = missing.map(ToString::to_string).collect();
    if !kept.is_empty() || !missing.is_empty() {
        warn!(
            missing = missing.join(", "),
            kept = kept.join(", "),
            "bind has changed, which takes effect only when the server is stopped and started: the listeners are taken \
             over as they are"
        );
    }
}

fn open(config: &Config) -> Result<Vec<Listener>, BindError> {
    let handed_down = Listener::from_systemd(|name| std::env::var(name).ok())?;
    if !handed_down.is_empty() && !config.bind_given {
        return Ok(handed_down);
    }
    let mut listeners = handed_down;
    for address in &config.bind {
        match Listener::open(
            address,
            &config.bind,
            config.backlog,
            config.identity.as_ref(),
        ) {
            Ok(more) => listeners.extend(more),
            Err(problem) => {
                listeners.iter().for_each(Listener::remove_file);
                return Err(problem);
            }
        }
    }
    Ok(listeners)
}
