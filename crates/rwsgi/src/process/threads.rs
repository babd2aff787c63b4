//! The application's threads: their number and stacks. Each one has the same Python thread state for its whole
//! life.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use exchange::Worker;
use tracing::warn;
use wsgi::{App, Python, ServingLock};

use super::governor::{self, States};
use super::stop::Stop;
use crate::config::Config;

/// Serves with all threads until `stop`; `ready` is called when all have started, `answered` after each request.
///
/// A single thread is the main thread, so that code written for one thread works (signals, SQLite's thread check,
/// one database connection). With several, the main thread waits and handles signals.
pub(crate) fn serve(
    py: Python<'_>,
    app: &App,
    config: &Config,
    stop: &Arc<Stop>,
    worker: &(dyn Fn(u8) -> Worker + Sync),
    answered: &(dyn Fn() + Sync),
    ready: &(dyn Fn() -> io::Result<()> + Sync),
) -> io::Result<()> {
    if config.threads == 1 {
        supervisor::limit_main_stack(config.stack_size)?;
        ready()?;
        wsgi::serve(py, app, &mut worker(0), &stop.flag, answered);
        return Ok(());
    }
    let stack = usize::try_from(config.stack_size).map_err(io::Error::other)?;
    let states = States::default();
    let lock = ServingLock::closed(py).map_err(|raised| io::Error::other(raised.to_string()))?;
    let latch = Latch {
        threads: AtomicU32::new(u32::from(config.threads)),
        lock: &lock,
    };
    py.detach(|| {
        std::thread::scope(|scope| {
            let started = (0..config.threads).try_for_each(|number| {
                let thread = u8::try_from(number).map_err(io::Error::other)?;
                let name = format!("rwsgi-{number}");
                let builder = std::thread::Builder::new()
                    .name(name.clone())
                    .stack_size(stack);
                let states = states.clone();
                let latch = &latch;
                let work = move || {
                    let _counted = CountedThread(latch);
                    if let Err(error) = states.add_this_thread() {
                        warn!(%error, "/proc does not tell what the application's threads do");
                    }
                    Python::attach(|py| {
                        wsgi::name_thread(py, &name);
                        wsgi::serve(py, app, &mut worker(thread), &stop.flag, answered);
                        wsgi::forget_thread(py);
                    });
                };
                builder.spawn_scoped(scope, work).map(drop)
            });
            // A child that cannot start all of its threads does not serve.
            started
                .and_then(|()| governor::start(stop, states))
                .and_then(|()| ready())
                .map(|()| lock.wait())
                .inspect_err(|_| stop.order())
        })
    })
}

/// The number of serving threads, and the latch that the last one opens.
struct Latch<'a> {
    threads: AtomicU32,
    lock: &'a ServingLock,
}

/// One thread, counted until this is dropped.
struct CountedThread<'a>(&'a Latch<'a>);

impl Drop for CountedThread<'_> {
    fn drop(&mut self) {
        if self.0.threads.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.lock.open();
        }
    }
}
