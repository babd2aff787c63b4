//! The life of a mold: starts Python, loads the application, warms it up, audits it, freezes its heap, and then
//! forks children on the supervisor's orders. It takes no requests of clients.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use exchange::{Exchange, Original};
use supervisor::{MoldBirth, MoldLink, MoldReport, Order, Unloadable, end_copy, exit};
use tracing::warn;
use wsgi::{App, HookPoint, Python, Spec, Waits};

use super::child;
use super::loading::{exit_code, load, raised, report_modules, spec, warm_up};
use super::trial::Trial;
use crate::config::{Config, Preload};
use crate::host::release::Release;
use crate::python::interpreter::{Hooks, start_python};

/// Runs a mold; returns its exit code.
pub(crate) fn live(
    release: &Release,
    first: Option<&Path>,
    exchange: &Arc<Exchange>,
    link: &MoldLink,
    birth: MoldBirth,
) -> u8 {
    let config = match release.enter() {
        Ok(config) => config,
        Err(why) => {
            let is_final = true;
            return unloadable(link, Unloadable { why, is_final });
        }
    };
    let config = &*config;
    let Some(interpreter) = release.at_start(config, || start_python(config)) else {
        return unloadable(
            link,
            Unloadable {
                why: "no Python: see the log".to_owned(),
                is_final: true,
            },
        );
    };
    // An agent may have set handlers of its own.
    supervisor::withhold_signals(|| Python::attach(wsgi::forget_handlers));
    release.compare_packages(first, interpreter.prefix());
    Python::attach(|py| {
        wsgi::follow_path(py);
        let spec = spec(config);
        let original = Original::here();
        let app = if birth.preload {
            // Fails when the supervisor has gone; then so does the next report, which is checked.
            let _ = link.report(MoldReport::Loading);
            let preloaded = preload(py, config, &spec, birth);
            end_copy(&original);
            match preloaded {
                Preloaded::Ready(app) => Some(app),
                Preloaded::Unloadable(why) => {
                    report_modules(py, config, |files| link.report_modules(files));
                    return unloadable(link, why);
                }
                Preloaded::Unshareable(why) => {
                    // Fails when the supervisor has gone, which also starts the other mold.
                    let _ = link.report(MoldReport::Unshareable { why });
                    return exit::OK;
                }
            }
        } else {
            None
        };
        if app.is_some() {
            report_modules(py, config, |files| link.report_modules(files));
        }
        if link
            .report(MoldReport::Ready {
                about: interpreter.about().to_owned(),
            })
            .is_err()
        {
            return exit::OK;
        }
        while let Some(Order::Spawn(spawn)) = py.detach(|| link.next_order()) {
            let hooked = app
                .as_ref()
                .map(|app| app.call_hooks(py, HookPoint::BeforeFork));
            end_copy(&original);
            if let Some(Err(why)) = hooked {
                return unloadable(link, raised(why));
            }
            let mut live = |link| child::live(py, app.as_ref(), config, &spec, exchange, link);
            if supervisor::fork_child(link, spawn, &Hooks(py), &mut live).is_err() {
                break;
            }
        }
        wsgi::leave(py, Waits::ForNone);
        exit::OK
    })
}

enum Preloaded {
    Ready(App),
    Unloadable(Unloadable),
    Unshareable(String),
}

/// Loads the application and prepares it for sharing.
fn preload(py: Python<'_>, config: &Config, spec: &Spec, birth: MoldBirth) -> Preloaded {
    wsgi::watch(py);
    let app = match load(py, spec) {
        Ok(app) => app,
        Err(why) => return Preloaded::Unloadable(why),
    };
    app.place(py, None, birth.generation);
    let began = Instant::now();
    let warmed = match warm_up(py, &app, config, birth.is_first) {
        Ok(warmed) => warmed,
        Err(why) => return Preloaded::Unloadable(raised(why)),
    };
    let took = began.elapsed();
    // One call more than there are forks: what the application releases here is not reported by the audit.
    if let Err(why) = app.call_hooks(py, HookPoint::BeforeFork) {
        return Preloaded::Unloadable(raised(why));
    }
    let audit = app.audit(py);
    let mut reasons = audit.reasons;
    if reasons.is_empty() && config.preload == Preload::Auto {
        let trial = Trial::of(config, &audit.unknown, warmed, took);
        reasons.extend(trial.and_then(|trial| trial.run(py, &app).err()));
    }
    if !reasons.is_empty() {
        let why = reasons.join("; ");
        if config.preload == Preload::Auto {
            // Each child makes its own; so locks are released and helper threads end.
            app.let_go(py);
            return Preloaded::Unshareable(why);
        }
        warn!(%why, "forked children will share what they should not");
    }
    app.freeze(py);
    Preloaded::Ready(app)
}

fn unloadable(link: &MoldLink, unloadable: Unloadable) -> u8 {
    let code = exit_code(&unloadable);
    // Fails when the supervisor has gone. The exit code has the same meaning.
    let _ = link.report(MoldReport::Unloadable(unloadable));
    code
}
