//! The application: loaded, looked over before the fork, made ready after it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;

use crate::environ::{Environs, Fixed};
use crate::package::PACKAGE;
use crate::prelude;

/// So long exit functions have the processes that the application has started, before these are ended.
const HELPERS_PATIENCE: Duration = Duration::from_secs(1);

/// So long they are waited for after that.
const EXIT_PATIENCE: Duration = Duration::from_secs(3);

/// As a thread of Python's has it by default.
const EXIT_STACK: usize = 8 << 20;

/// What to load, and what the application is to know about its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Where the application is.
    pub target: Target,
    /// Modules that are imported as well.
    pub imports: Vec<String>,
    /// Directories for `sys.path`, behind the current one.
    pub python_path: Vec<PathBuf>,
    /// Variables for `os.environ`, set before anything of the application runs.
    pub env: Vec<(String, String)>,
    /// The mount point, decoded: empty or like `/shop`.
    pub script_name: String,
    /// Another thread of the process may call the application at the same time.
    pub multithread: bool,
    /// Another process may.
    pub multiprocess: bool,
}

/// Where the application is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An attribute of a module; `application`, else `app`, when none is named.
    Module {
        /// The module's full name.
        module: String,
        /// The attribute, perhaps of an attribute: `site.app`.
        callable: Option<String>,
    },
    /// A file of Python code, whatever its suffix, that defines `application` or `app`.
    File(PathBuf),
    /// What the settings of a Django project call `WSGI_APPLICATION`.
    Django {
        /// The module of the settings, unless `DJANGO_SETTINGS_MODULE` names another.
        settings: String,
    },
}

impl Default for Target {
    /// No application.
    fn default() -> Self {
        Self::Module {
            module: String::new(),
            callable: None,
        }
    }
}

/// The application cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no application where it should be.
    #[error("{0}")]
    NotThere(String),
    /// Code of the application raised an exception; the traceback is in the log.
    #[error("{summary}")]
    Raised {
        /// The exception in one line.
        summary: String,
        /// What was printed.
        traceback: String,
    },
}

/// What stands against sharing the loaded application by fork.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// What cannot be shared, one reason each: threads, locks, connections, files, processes.
    pub reasons: Vec<String>,
    /// What is not known, and only a trial can tell.
    pub unknown: Vec<String>,
    /// What is known to do no harm, or is made anew in each child.
    pub notes: Vec<String>,
}

/// A loaded application. All threads of a process share one.
#[derive(Debug)]
pub struct App {
    pub(crate) callable: Py<PyAny>,
    /// The class of `wsgi.file_wrapper`.
    pub(crate) file_wrapper: Py<PyAny>,
    pub(crate) environs: Environs,
}

impl App {
    /// Loads the application.
    ///
    /// From now on `signal.signal` does nothing for the server's signals, in this process and in those forked from it for
    /// further children.
    ///
    /// # Errors
    /// [`LoadError`], when an exception was the cause after its traceback has been logged.
    pub fn load(py: Python<'_>, spec: &Spec) -> Result<Self, LoadError> {
        load(py, spec).map_err(|raised| {
            let not_there =
                prelude::module(py).and_then(|module| module.getattr(intern!(py, "NotThereError")));
            prelude::note_failure(py, &raised);
            if not_there.is_ok_and(|kind| raised.get_type(py).is(&kind)) {
                return LoadError::NotThere(raised.value(py).to_string());
            }
            LoadError::Raised {
                summary: prelude::summary(py, &raised),
                traceback: prelude::log_traceback(py, &raised),
            }
        })
    }

    /// Closes the connections that the framework can open again, and looks for what a fork would break.
    #[must_use]
    pub fn audit(&self, py: Python<'_>) -> Audit {
        look(py).unwrap_or_else(|raised| {
            prelude::log_traceback(py, &raised);
            Audit {
                reasons: vec![prelude::summary(py, &raised)],
                ..Audit::default()
            }
        })
    }

    /// Runs the exit functions of the application, and ends the processes that it has started: for a process that has loaded
    /// it, and is not to share it.
    ///
    /// Exit functions end processes, or wait for them to end, and some never return, such as that of a pool of processes one
    /// of which was killed while it held a lock. So they run on a thread of their own, and nothing waits for them for long.
    /// It is none of Python's, which gevent would replace by one that runs only while this one waits.
    pub fn let_go(&self, py: Python<'_>) {
        let (returned, returns) = mpsc::channel();
        let exit = move || {
            Python::attach(|py| call(py, prelude::audit(py), "run_exit_functions"));
            // Who no longer waits does not want to know.
            let _ = returned.send(());
        };
        let begun = std::thread::Builder::new()
            .name("rwsgi-exit".to_owned())
            .stack_size(EXIT_STACK)
            .spawn(exit);
        let returns = Mutex::new(returns);
        let has_returned = |patience| {
            py.detach(|| {
                let returns = returns.lock().unwrap_or_else(PoisonError::into_inner);
                returns.recv_timeout(patience).is_ok()
            })
        };
        let is_done = begun.is_ok() && has_returned(HELPERS_PATIENCE);
        call(py, prelude::audit(py), "end_helpers");
        if !is_done && !has_returned(EXIT_PATIENCE) {
            tracing::warn!(
                after = ?(HELPERS_PATIENCE + EXIT_PATIENCE),
                "exit functions of the application do not return, and are not waited for"
            );
        }
    }

    /// Prepares the memory for being shared: collects garbage and moves all objects out of the collector's sight.
    ///
    /// To be called last before the first fork.
    pub fn freeze(&self, py: Python<'_>) {
        prelude::keep_files(py);
        run(py, "freeze");
    }

    /// Moves all objects out of the collector's sight, which would look at them again and again in vain.
    ///
    /// For a process that has loaded the application for itself, before it serves.
    pub fn settle(&self, py: Python<'_>) {
        prelude::keep_files(py);
        run(py, "settle");
    }

    /// Lets the application know by its environ where it is called: in which generation, and in which child, once it is one.
    pub fn place(&self, py: Python<'_>, child: Option<u16>, generation: u32) {
        if let Err(raised) = self.environs.place(py, child, generation) {
            tracing::error!(error = %prelude::summary(py, &raised), "the application cannot be told its place");
        }
    }

    /// Makes event loops and generators of random numbers anew, which this child has inherited.
    ///
    /// To be called in each child that shares what another process has loaded, once [`crate::after_fork_child`] has been,
    /// and before anything of the application runs.
    pub fn renew(&self, py: Python<'_>) {
        let renewed = prelude::renew(py).and_then(|module| module.call_method0("after_fork"));
        if let Err(raised) = renewed {
            failed(py, "renew", &raised);
        }
    }
}

/// Prints the stacks of all Python threads to standard error in so many seconds, unless this process has ended by then.
pub fn dump_stacks_after(py: Python<'_>, time: Duration) {
    let begun = prelude::audit(py)
        .and_then(|module| module.call_method1("dump_stacks_after", (time.as_secs_f64(),)));
    if let Err(raised) = begun {
        failed(py, "dump_stacks_after", &raised);
    }
}

/// Notes from here on, until the audit, what the application makes that a fork would double: to be called before it is
/// loaded to be shared.
pub fn watch(py: Python<'_>) {
    call(py, prelude::renew(py), "watch");
}

/// Calls a function of one of our modules; what fails is logged.
fn call(py: Python<'_>, module: PyResult<&Bound<'_, PyModule>>, function: &str) {
    if let Err(raised) = module.and_then(|module| module.call_method0(function)) {
        failed(py, function, &raised);
    }
}

fn look(py: Python<'_>) -> PyResult<Audit> {
    prelude::module(py)?.call_method0(intern!(py, "close_connections"))?;
    let audit = prelude::audit(py)?;
    let name_threads = prelude::native(py)?.getattr(intern!(py, "name_threads"))?;
    let (reasons, unknown, mut notes): (_, _, Vec<String>) = audit
        .call_method1(intern!(py, "look"), (name_threads,))?
        .extract()?;
    let renewed = prelude::renew(py)?.call_method0(intern!(py, "find"))?;
    notes.extend(renewed.extract::<Vec<String>>()?);
    Ok(Audit {
        reasons,
        unknown,
        notes,
    })
}

fn load(py: Python<'_>, spec: &Spec) -> PyResult<App> {
    let prelude = prelude::module(py)?;
    // What is open by now is the server's.
    prelude::audit(py)?;
    prelude.call_method1(
        intern!(py, "prepare"),
        (&spec.python_path, &spec.env, PACKAGE),
    )?;
    prelude::signals(py)?.call_method0(intern!(py, "install"))?;
    let (kind, place, callable) = match &spec.target {
        Target::Module { module, callable } => (
            "module",
            module.as_str().into_pyobject(py)?.into_any(),
            callable.as_deref(),
        ),
        Target::File(path) => ("file", path.as_os_str().into_pyobject(py)?.into_any(), None),
        Target::Django { settings } => (
            "django",
            settings.as_str().into_pyobject(py)?.into_any(),
            None,
        ),
    };
    let callable =
        prelude.call_method1(intern!(py, "load"), (kind, place, callable, &spec.imports))?;
    let errors = prelude.call_method0(intern!(py, "errors"))?;
    let file_wrapper = prelude.getattr(intern!(py, "FileWrapper"))?;
    let fixed = Fixed {
        script_name: &spec.script_name,
        multithread: spec.multithread,
        multiprocess: spec.multiprocess,
        errors,
        file_wrapper: &file_wrapper,
    };
    Ok(App {
        callable: callable.unbind(),
        environs: Environs::new(py, &fixed)?,
        file_wrapper: file_wrapper.unbind(),
    })
}

/// What the prelude does here is worth a word when it fails, not the server's life.
fn run(py: Python<'_>, name: &str) {
    if let Err(raised) = prelude::module(py).and_then(|module| module.call_method0(name)) {
        failed(py, name, &raised);
    }
}

fn failed(py: Python<'_>, step: &str, raised: &PyErr) {
    tracing::error!(step, error = %prelude::summary(py, raised), "preparing the application failed");
    prelude::log_traceback(py, raised);
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module {
                module,
                callable: Some(callable),
            } => write!(f, "{module}:{callable}"),
            Self::Module {
                module,
                callable: None,
            } => f.write_str(module),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Django { settings } => write!(f, "the Django project of {settings}"),
        }
    }
}
