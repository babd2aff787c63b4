//! A mold's life: start Python, load the application, warm it up, look it over, freeze it, then fork children for as
//! long as the supervisor wants some. It takes no request of a client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use exchange::{Exchange, Original};
use supervisor::{AroundFork, MoldBirth, MoldLink, MoldReport, Order, Unloadable, end_copy};
use tracing::{error, info, warn};
use wsgi::{App, Interpreter, LoadError, Python, Spec, StartError, Turn, Waits};

use crate::options::{Config, Preload, WarmupFailures};
use crate::release::Release;
use crate::trial::Trial;
use crate::{child, exit, log, threads};

/// The whole life; its exit code.
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
            // Without a supervisor there is nobody to tell, which the next report finds.
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
                    // Without a supervisor, there is nobody to make another mold either.
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
            let turned = app.as_ref().map(|app| app.turn(py, Turn::BeforeFork));
            end_copy(&original);
            if let Some(Err(why)) = turned {
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

/// Starts CPython, or adopts the interpreter that this program runs in; says so when there is none to work with, and
/// when the stack is small for it.
pub(crate) fn start_python(config: &Config) -> Option<Interpreter> {
    match interpreter(config) {
        Ok(interpreter) => {
            threads::warn_of_small_stack(config.stack_size, interpreter.version());
            Some(interpreter)
        }
        Err(problem) => {
            error!(error = log::chain(&problem), "no Python");
            None
        }
    }
}

fn interpreter(config: &Config) -> Result<Interpreter, StartError> {
    if Interpreter::is_running() {
        return Interpreter::adopt(config.python.as_deref());
    }
    #[cfg(feature = "embed")]
    {
        Interpreter::start(&wsgi::Start {
            python: config.python.clone(),
        })
    }
    #[cfg(not(feature = "embed"))]
    Interpreter::adopt(config.python.as_deref())
}

/// What the application's bridge needs of the options.
pub(crate) fn spec(config: &Config) -> Spec {
    Spec {
        target: config.app.clone(),
        imports: config.import.clone(),
        python_path: config.python_path.clone(),
        env: environment(config),
        script_name: config.script_name.clone(),
        multithread: config.threads > 1,
        multiprocess: config.processes != 1 || config.mpm().is_some(),
    }
}

/// The variables that are set for the application: those that belong to its user, overruled by those that were given.
fn environment(config: &Config) -> Vec<(String, String)> {
    let user = config.identity.as_ref();
    let mut variables = user.map_or_else(Vec::new, supervisor::Identity::variables);
    variables.extend_from_slice(&config.env);
    variables
}

enum Preloaded {
    Ready(App),
    Unloadable(Unloadable),
    Unshareable(String),
}

/// Loads the application and makes it fit to be shared.
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
    // Once more than there are forks: what the application lets go of here is not found to be in the way.
    if let Err(why) = app.turn(py, Turn::BeforeFork) {
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
            // Each child makes its own of what this one has: locks are given back, and helpers end.
            app.let_go(py);
            return Preloaded::Unshareable(why);
        }
        warn!(%why, "forked children will share what they should not");
    }
    app.freeze(py);
    Preloaded::Ready(app)
}

/// Loads the application; says so when it cannot be, and gives the traceback back, or what else is to be told.
pub(crate) fn load(py: Python<'_>, spec: &Spec) -> Result<App, Unloadable> {
    App::load(py, spec).map_err(|problem| {
        error!(app = %spec.target, error = %problem, "the application cannot be loaded");
        match problem {
            LoadError::NotThere(why) => Unloadable {
                why,
                is_final: true,
            },
            LoadError::Raised { traceback, .. } => raised(traceback),
        }
    })
}

/// What the application's code has done: it may do better another time.
pub(crate) fn raised(why: String) -> Unloadable {
    let is_final = false;
    Unloadable { why, is_final }
}

/// Has the application warm itself up, then runs the warm-up requests and reports each.
///
/// `decides`: it shows by them whether the application can be served. Once one of its processes has shown that, those that
/// come later serve without: a service that the application needs may be away for a while.
///
/// Returns whether none has failed.
///
/// # Errors
/// Why one has failed, where that is to be decisive.
pub(crate) fn warm_up(
    py: Python<'_>,
    app: &App,
    config: &Config,
    decides: bool,
) -> Result<bool, String> {
    app.call_warmups(py);
    let mut failed = None;
    for warmed in app.warm_up(py, &config.warmup) {
        let (url, status) = (&warmed.url, warmed.status);
        match (warmed.why_not(), status) {
            (Some(why), _) => {
                let reason = why.lines().last().unwrap_or_default();
                warn!(url, status, reason, "the warm-up failed");
                failed.get_or_insert(why);
            }
            (None, Some(200..400)) => info!(url, status, "warmed up"),
            (None, _) => warn!(url, status, "the warm-up was answered with an error"),
        }
    }
    match failed {
        Some(why) if decides && config.warmup_failures == WarmupFailures::Fail => {
            error!("the application cannot be loaded: its warm-up failed");
            Err(why)
        }
        failed => Ok(failed.is_none()),
    }
}

/// Tells the supervisor, in development, which files the application consists of, or has failed to.
pub(crate) fn report_modules(
    py: Python<'_>,
    config: &Config,
    report: impl FnOnce(&[PathBuf]) -> std::io::Result<()>,
) {
    if config.reload {
        // Without a supervisor there is nobody to tell, which the next report finds.
        let _ = report(&wsgi::module_files(py));
    }
}

fn unloadable(link: &MoldLink, unloadable: Unloadable) -> u8 {
    let code = exit_code(&unloadable);
    // Without a supervisor there is nobody to tell; the exit code says the same.
    let _ = link.report(MoldReport::Unloadable(unloadable));
    code
}

/// What a process exits with that cannot load the application.
pub(crate) fn exit_code(unloadable: &Unloadable) -> u8 {
    if unloadable.is_final {
        exit::CONFIGURATION
    } else {
        exit::NOT_LOADED
    }
}

/// CPython's fork hooks.
pub(crate) struct Hooks<'py>(pub(crate) Python<'py>);

impl AroundFork for Hooks<'_> {
    fn before(&self) {
        wsgi::before_fork(self.0);
    }

    fn in_parent(&self) {
        wsgi::after_fork_parent(self.0);
    }

    fn in_child(&self) {
        wsgi::after_fork_child(self.0);
    }
}
