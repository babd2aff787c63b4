//! A child's life, from the moment after its birth to its exit code.

use std::collections::HashSet;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use exchange::{Exchange, Original, Worker};
use supervisor::{ChildLink, ChildOrder, ChildReport, Unloadable, end_copy, exit};
use tracing::{error, info};
use wsgi::{App, HookPoint, Python, Spec, Waits};

use super::stop::Stop;
use super::{loading, threads};
use crate::config::Config;

/// The whole life. `preloaded` is the application that the mold has loaded, if it has.
pub(crate) fn live(
    py: Python<'_>,
    preloaded: Option<&App>,
    config: &Config,
    spec: &Spec,
    exchange: &Arc<Exchange>,
    link: ChildLink,
) -> u8 {
    let original = Original::here();
    // Never closed: it ends with the process, and the number may be a file of the application's by then.
    let link = ManuallyDrop::new(link);
    // Loading: the application is there since the fork, or is loaded now.
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
            // A warm-up is answered as in a mold: the application does not yet know of a child.
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

    // Ready as soon as every thread waits for requests; serving, until told to drain; then the requests that have been
    // taken are finished.
    let child = link.child();
    let stop = Arc::new(Stop {
        flag: AtomicBool::new(false),
        exchange: Arc::clone(exchange),
        child,
    });
    py.detach(|| until_known(&link, &stop));
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
    let later = config.reload.then(|| Later::new(py, &link));
    let answered = || {
        end_copy(&original);
        count.one_more();
        if exchange.is_cut_off() {
            stop.order();
        }
        later.iter().for_each(Later::look);
    };
    let served = threads::serve(py, app, config, &stop, &worker, &answered, &ready);

    // Exit: what the application wants to have done at its end, but no tearing down of the interpreter. The supervisor
    // waits for as long as the shutdown timeout allows.
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
        Ok(()) if exchange.is_cut_off() => exit::CUT_OFF,
        Ok(()) => exit::OK,
        Err(problem) => {
            error!(child = child.slot, error = %problem, "cannot begin to serve");
            // It fails when the supervisor has gone.
            let _ = link.report(ChildReport::Short);
            exit::CANNOT_START
        }
    }
}

fn unloadable(link: &ChildLink, unloadable: Unloadable) -> u8 {
    let code = loading::exit_code(&unloadable);
    // It fails when the supervisor has gone. The exit code says the same.
    let _ = link.report(ChildReport::Unloadable(unloadable));
    code
}

/// Requests that have been answered, of all threads.
struct Count<'a> {
    answered: AtomicU64,
    /// So many are enough; 0 for no limit.
    enough: u64,
    exchange: &'a Exchange,
    link: &'a ChildLink,
}

impl Count<'_> {
    /// One more. The supervisor is told when they are enough: it would not look by itself before something happens.
    fn one_more(&self) {
        if self.enough > 0 && self.answered.fetch_add(1, Ordering::Relaxed) + 1 == self.enough {
            // Another file may have the number of the line.
            self.exchange.look_for_descriptors();
            if !self.exchange.is_cut_off() {
                // A supervisor that is gone is heard of elsewhere.
                let _ = self.link.report(ChildReport::Spent);
            }
        }
    }
}

/// Modules that are imported after the application has been loaded, as in a view: in development the supervisor is told.
struct Later<'a> {
    /// How many there were at the last look, and their files.
    known: Mutex<(usize, HashSet<PathBuf>)>,
    link: &'a ChildLink,
}

impl<'a> Later<'a> {
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
            // Another thread that looks sees the same.
            let Ok(mut known) = self.known.try_lock() else {
                return;
            };
            if known.0 == count {
                return;
            }
            known.0 = count;
            let mut new = wsgi::module_files(py);
            new.retain(|file| known.1.insert(file.clone()));
            // A supervisor that is gone is heard of elsewhere.
            let _ = self.link.report_modules(&new);
        });
    }
}

/// Waits until the front has been told of this process: from a stranger it takes no question for a body and no file.
fn until_known(link: &ChildLink, stop: &Stop) {
    loop {
        match link.next_order() {
            Some(ChildOrder::Serve) => return,
            Some(ChildOrder::GiveUpOutput) => supervisor::give_up_unread_output(),
            // It is to take no request at all.
            Some(ChildOrder::Drain) | None => return stop.order(),
        }
    }
}

/// Listens to the supervisor on a thread of its own, since the main thread may be the application's.
fn listen(link: ChildLink, stop: Arc<Stop>) -> std::io::Result<()> {
    const STACK: usize = 128 * 1024;
    let listener = move || {
        // Never closed: the number may be a file of the application's by then.
        let link = ManuallyDrop::new(link);
        while let Some(order) = link.next_order() {
            match order {
                ChildOrder::Serve => {}
                ChildOrder::Drain => {
                    stop.order();
                    // A supervisor that is gone meanwhile wants to know nothing more.
                    let _ = link.report(ChildReport::Draining);
                }
                ChildOrder::GiveUpOutput => supervisor::give_up_unread_output(),
            }
        }
        // The supervisor is gone: no further request is taken.
        stop.order();
    };
    std::thread::Builder::new()
        .name("rwsgi-orders".to_owned())
        .stack_size(STACK)
        .spawn(listener)
        .map(drop)
}
