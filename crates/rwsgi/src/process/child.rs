//! The life of a child, from its birth to its exit code.

use std::collections::HashSet;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use exchange::{Exchange, Original, Worker};
use supervisor::{ChildLink, ChildOrder, ChildReport, Unloadable, end_copy, exit};
use tracing::{error, info, warn};
use wsgi::{App, HookPoint, Python, Spec, Waits};

use super::stop::Stop;
use super::{loading, threads};
use crate::config::Config;

/// Runs a child. `preloaded` is the application if the mold has loaded it.
pub(crate) fn live(
    py: Python<'_>,
    preloaded: Option<&App>,
    config: &Config,
    spec: &Spec,
    exchange: &Arc<Exchange>,
    link: ChildLink,
) -> u8 {
    let original = Original::here();
    // Never closed: it ends with the process, and the number may refer to a file of the application by then.
    let link = ManuallyDrop::new(link);
    // Loading: the application was inherited by the fork, or is loaded now.
    let own;
    let app = match preloaded {
        Some(app) => {
            app.renew(py);
            app
        }
        None => {
            let loaded = loading::load(py, spec);
            end_copy(&original);
            let app = match loaded {
                Ok(app) => app,
                Err(why) => {
                    loading::report_modules(py, config, |files| link.report_modules(files));
                    return unloadable(&link, why);
                }
            };
            // Warm-up requests run as in a mold: the application does not know yet that it is in a child.
            app.place(py, None, link.generation());
            let warm = loading::warm_up(py, &app, config, link.is_first());
            end_copy(&original);
            if let Err(why) = warm {
                return unloadable(&link, loading::raised(why));
            }
            loading::report_modules(py, config, |files| link.report_modules(files));
            app.settle(py);
            own = app;
            &own
        }
    };
    app.place(py, Some(link.child().slot), link.generation());
    let hooked = app.call_hooks(py, HookPoint::AfterFork);
    end_copy(&original);
    if let Err(why) = hooked {
        return unloadable(&link, loading::raised(why));
    }

    // Ready as soon as every thread waits for requests; serves until told to drain, and then finishes the requests
    // that were taken.
    let child = link.child();
    let stop = Arc::new(Stop {
        flag: AtomicBool::new(false),
        exchange: Arc::clone(exchange),
        child,
    });
    py.detach(|| wait_for_order(&link, &stop));
    let count = Count {
        answered: AtomicU64::new(0),
        enough: config.recycling.max_requests,
        exchange,
        link: &link,
    };
    let worker = |thread| Worker::new(Arc::clone(exchange), child, thread, original);
    let ready = || {
        listen(link.try_clone()?, Arc::clone(&stop))?;
        link.report(ChildReport::Ready)
    };
    let later = config.reload.then(|| LateImports::new(py, &link));
    let answered = || {
        end_copy(&original);
        count.one_more();
        if exchange.has_lost_descriptors() {
            stop.order();
        }
        later.iter().for_each(LateImports::look);
    };
    let served = threads::serve(py, app, config, &stop, &worker, &answered, &ready);

    // Exit: runs the application's exit handlers, but does not finalize the interpreter. The supervisor waits until
    // the shutdown timeout.
    app.call_exits(py);
    let threads = wsgi::unfinished(py);
    if !threads.is_empty() {
        let threads = threads.join(", ");
        info!(
            child = child.slot,
            threads, "waits for threads of the application, to leave"
        );
    }
    wsgi::leave(py, Waits::ForThreads);
    match served {
        Ok(()) if exchange.has_lost_descriptors() => exit::CUT_OFF,
        Ok(()) => exit::OK,
        Err(problem) => {
            error!(child = child.slot, error = %problem, "cannot begin to serve");
            // Fails when the supervisor has gone.
            let _ = link.report(ChildReport::Short);
            exit::CANNOT_START
        }
    }
}

fn unloadable(link: &ChildLink, unloadable: Unloadable) -> u8 {
    let code = loading::exit_code(&unloadable);
    // Fails when the supervisor has gone. The exit code has the same meaning.
    let _ = link.report(ChildReport::Unloadable(unloadable));
    code
}

/// Counts the answered requests of all threads.
struct Count<'a> {
    answered: AtomicU64,
    /// The maximum; 0 for no limit.
    enough: u64,
    exchange: &'a Exchange,
    link: &'a ChildLink,
}

impl Count<'_> {
    /// Counts a request. At the maximum the supervisor is informed, because it would notice only at its next event.
    fn one_more(&self) {
        if self.enough > 0 && self.answered.fetch_add(1, Ordering::Relaxed) + 1 == self.enough {
            // Another file may have the number of the channel by now.
            self.exchange.check_descriptors();
            if !self.exchange.has_lost_descriptors() {
                // The end of the supervisor is noticed elsewhere.
                let _ = self.link.report(ChildReport::Spent);
            }
        }
    }
}

/// In development: finds modules that are imported after loading, for instance in a view, and reports them to the
/// supervisor.
struct LateImports<'a> {
    /// The number of modules at the last check, and their files.
    known: Mutex<(usize, HashSet<PathBuf>)>,
    link: &'a ChildLink,
}

impl<'a> LateImports<'a> {
    fn new(py: Python<'_>, link: &'a ChildLink) -> Self {
        let files = wsgi::module_files(py).into_iter().collect();
        Self {
            known: Mutex::new((wsgi::module_count(py), files)),
            link,
        }
    }

    /// To be called after a request, by a thread that is attached to Python.
    fn look(&self) {
        Python::attach(|py| {
            let count = wsgi::module_count(py);
            // Another thread is already checking.
            let Ok(mut known) = self.known.try_lock() else {
                return;
            };
            if known.0 == count {
                return;
            }
            known.0 = count;
            let mut new = wsgi::module_files(py);
            new.retain(|file| known.1.insert(file.clone()));
            // The end of the supervisor is noticed elsewhere.
            let _ = self.link.report_modules(&new);
        });
    }
}

/// Waits until the front knows this process: until then it refuses its messages.
fn wait_for_order(link: &ChildLink, stop: &Stop) {
    loop {
        match link.next_order() {
            Some(ChildOrder::Serve) => return,
            Some(ChildOrder::GiveUpOutput) => supervisor::give_up_unread_output(),
            // The child must take no request at all.
            Some(ChildOrder::Drain) | None => return stop.order(),
        }
    }
}

/// Reads the supervisor's orders on a separate thread, since the main thread may run the application.
fn listen(link: ChildLink, stop: Arc<Stop>) -> std::io::Result<()> {
    const STACK: usize = 128 * 1024;
    let listener = move || {
        // Never closed: the number may refer to a file of the application by then.
        let link = ManuallyDrop::new(link);
        if let Err(problem) = link.report_term() {
            warn!(error = %problem, "SIGTERM to this process has no effect");
        }
        while let Some(order) = link.next_order() {
            match order {
                ChildOrder::Serve => {}
                ChildOrder::Drain => {
                    stop.order();
                    // Fails when the supervisor has gone.
                    let _ = link.report(ChildReport::Draining);
                }
                ChildOrder::GiveUpOutput => supervisor::give_up_unread_output(),
            }
        }
        // The supervisor has gone: take no further requests.
        stop.order();
    };
    std::thread::Builder::new()
        .name("rwsgi-orders".to_owned())
        .stack_size(STACK)
        .spawn(listener)
        .map(drop)
}
