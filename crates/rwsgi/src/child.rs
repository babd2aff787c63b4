//! A child's life, from the moment after its birth to its exit code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use exchange::{Exchange, Seat};
use supervisor::{ChildLink, ChildOrder, ChildReport};
use tracing::error;
use wsgi::{App, Python, Spec};

use crate::options::Config;
use crate::{exit, mold, threads};

/// The whole life. `preloaded` is the application that the mold has loaded, if it has.
pub(crate) fn live(
    py: Python<'_>,
    preloaded: Option<&App>,
    config: &Config,
    spec: &Spec,
    exchange: &Arc<Exchange>,
    link: ChildLink,
) -> u8 {
    // Loading: the application is there since the fork, or is loaded now.
    let own;
    let app = match preloaded {
        Some(app) => app,
        None => {
            let Some(app) = mold::load(py, spec) else {
                // Without a supervisor there is nobody to tell; the exit code says the same.
                let _ = link.report(ChildReport::Unloadable);
                return exit::CONFIGURATION;
            };
            mold::warm_up(py, &app, &config.warmup);
            own = app;
            &own
        }
    };
    app.after_fork(py);

    // Ready: from here on requests may come.
    let stop = Arc::new(AtomicBool::new(false));
    let child = link.child();
    let listening = link
        .try_clone()
        .and_then(|link| listen(link, Arc::clone(exchange), Arc::clone(&stop)));
    if let Err(problem) = listening.and_then(|()| link.report(ChildReport::Ready)) {
        error!(child = child.slot, error = %problem, "cannot begin to serve");
        return exit::CANNOT_START;
    }

    // Serving, until told to drain; then the requests that have been taken are finished.
    let seat = |thread| Seat::new(Arc::clone(exchange), child, thread);
    let served = threads::serve(py, app, config, &stop, &seat);

    // Exit: what the application wants to have done at its end, but no tearing down of the interpreter.
    wsgi::leave(py);
    match served {
        Ok(()) => exit::OK,
        Err(problem) => {
            error!(child = child.slot, error = %problem, "the application's threads cannot be started");
            exit::CANNOT_START
        }
    }
}

/// Listens to the supervisor on a thread of its own, since the main thread may be the application's.
fn listen(link: ChildLink, exchange: Arc<Exchange>, stop: Arc<AtomicBool>) -> std::io::Result<()> {
    const STACK: usize = 128 * 1024;
    let child = link.child();
    let listener = move || {
        // An order to drain, or a supervisor that is gone: either way, no further request is taken.
        let (Some(ChildOrder::Drain) | None) = link.next_order();
        stop.store(true, Ordering::Release);
        exchange::wake_child(&exchange, child);
    };
    std::thread::Builder::new()
        .name("rwsgi-orders".to_owned())
        .stack_size(STACK)
        .spawn(listener)
        .map(drop)
}
