//! The application: loaded, audited before the fork, prepared after it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;

use crate::environ::{Environs, Fixed};
use crate::package::PACKAGE;
use crate::prelude;

/// How long exit functions run before the processes that the application has started are ended.
const HELPERS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long exit functions are waited for after that.
const EXIT_TIMEOUT: Duration = Duration::from_secs(3);

/// The default stack size of threads that Python starts.
const EXIT_STACK: usize = 8 << 20;

/// What to load, and with which `sys.path`, variables and values of the environ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Where the application is.
    pub target: Target,
    /// Variables for the file of PasteDeploy, if there is one.
    pub paste_global: Vec<(String, String)>,
    /// Modules that are imported as well.
    pub imports: Vec<String>,
    /// Directories for `sys.path`, after the current one.
    pub python_path: Vec<PathBuf>,
    /// Variables for `os.environ`, set before anything of the application runs.
    pub env: Vec<(String, String)>,
    /// The mount point, decoded: empty or like `/shop`.
    pub script_name: String,
    /// `wsgi.multithread`: another thread of the process may call the application at the same time.
    pub multithread: bool,
    /// `wsgi.multiprocess`: another process may.
    pub multiprocess: bool,
}

/// Where the application is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An attribute of a module; `application`, else `app`, when none is named.
    Module {
        /// The module's full name.
        module: String,
        /// The attribute, perhaps of an attribute: `site.app`. Or the call of one: `create_app("prod")`.
        callable: Option<String>,
    },
    /// A file of Python code, whatever its suffix.
    File {
        /// Its path.
        path: PathBuf,
        /// As of a module.
        callable: Option<String>,
    },
    /// An application of a file of PasteDeploy.
    Paste {
        /// The file.
        path: PathBuf,
        /// Its name there; `main` when none is given.
        name: Option<String>,
    },
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
    /// There is no application at the target.
    #[error("{0}")]
    NotThere(String),
    /// Code of the application raised an exception; the traceback is in the log.
    #[error("{summary}")]
    Raised {
        /// The exception in one line.
        summary: String,
        /// The traceback.
        traceback: String,
    },
}

/// Whether the loaded application can be shared by fork.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Reasons not to: threads, locks, connections, files, processes.
    pub reasons: Vec<String>,
    /// Findings of which only a trial can show whether they do harm.
    pub unknown: Vec<String>,
    /// Findings that are harmless, or made anew in each child.
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
    /// From now on `signal.signal` ignores handlers for the server's signals, in this process and in the children forked from
    /// it.
    ///
    /// # Errors
    /// [`LoadError`], when an exception was the cause after its traceback has been logged.
    pub fn load(py: Python<'_>, spec: &Spec) -> Result<Self, LoadError> {
        load(py, spec).map_err(|raised| {
            let not_there = prelude::application(py)
                .and_then(|module| module.getattr(intern!(py, "NotThereError")));
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

    /// Closes the connections that the framework can open again, and searches for what a fork would break.
    #[must_use]
    pub fn audit(&self, py: Python<'_>) -> Audit {
        run_audit(py).unwrap_or_else(|raised| {
            prelude::log_traceback(py, &raised);
            Audit {
                reasons: vec![prelude::summary(py, &raised)],
                ..Audit::default()
            }
        })
    }

    /// Runs the exit functions of the application, and ends the processes that it has started: for a process that has loaded
    /// the application and will not share it.
    ///
    /// An exit function may never return, such as that of a pool of processes of which one was killed while it held a lock. So
    /// they run on a thread of their own, with a time limit. The thread is not one of Python's `threading`, which gevent
    /// replaces by one that runs only while this thread waits.
    pub fn let_go(&self, py: Python<'_>) {
        let (returned, returns) = mpsc::channel();
        let exit = move || {
            Python::attach(|py| call(py, prelude::audit(py), "run_exit_functions"));
            // It fails when the other side no longer waits.
            let _ = returned.send(());
        };
        let begun = std::thread::Builder::new()
            .name("rwsgi-exit".to_owned())
            .stack_size(EXIT_STACK)
            .spawn(exit);
        let returns = Mutex::new(returns);
        let has_returned = |timeout| {
            py.detach(|| {
                let returns = returns.lock().unwrap_or_else(PoisonError::into_inner);
                returns.recv_timeout(timeout).is_ok()
            })
        };
        let is_done = begun.is_ok() && has_returned(HELPERS_TIMEOUT);
        call(py, prelude::audit(py), "end_helpers");
        if !is_done && !has_returned(EXIT_TIMEOUT) {
            tracing::warn!(
                after = ?(HELPERS_TIMEOUT + EXIT_TIMEOUT),
                "exit functions of the application do not return, and are not waited for"
            );
        }
    }

    /// Prepares the memory for being shared: collects garbage and freezes all objects (`gc.freeze`).
    ///
    /// To be called last before the first fork.
    pub fn freeze(&self, py: Python<'_>) {
        prelude::keep_files(py);
        run(py, "freeze");
    }

    /// Freezes all objects, which stay anyway, so that the collector does not visit them.
    ///
    /// For a process that has loaded the application for itself, before it serves.
    pub fn settle(&self, py: Python<'_>) {
        prelude::keep_files(py);
        run(py, "settle");
    }

    /// Sets the generation, and in a child its slot, in the environ of the requests to come.
    pub fn place(&self, py: Python<'_>, child: Option<u16>, generation: u32) {
        if let Err(raised) = self.environs.place(py, child, generation) {
            tracing::error!(error = %prelude::summary(py, &raised), "the application cannot be told its place");
        }
    }

    /// Makes the event loops and random number generators anew that this child has inherited.
    ///
    /// To be called in each child that shares a loaded application, after [`crate::after_fork_child`] and before anything of
    /// the application runs.
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

/// From now on until the audit, notes which random number generators are seeded. To be called before the application is
/// loaded to be shared.
pub fn watch(py: Python<'_>) {
    call(py, prelude::renew(py), "watch");
}

/// Calls a function of one of our modules; a failure is logged.
fn call(py: Python<'_>, module: PyResult<&Bound<'_, PyModule>>, function: &str) {
    if let Err(raised) = module.and_then(|module| module.call_method0(function)) {
        failed(py, function, &raised);
    }
}

fn run_audit(py: Python<'_>) -> PyResult<Audit> {
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
    // Executed now, since it notes the descriptors that are open before the application is loaded.
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
        Target::File { path, callable } => (
            "file",
            path.as_os_str().into_pyobject(py)?.into_any(),
            callable.as_deref(),
        ),
        Target::Paste { path, name } => {
            prelude.call_method1(intern!(py, "watch_file"), (path.as_os_str(),))?;
            (
                "paste",
                path.as_os_str().into_pyobject(py)?.into_any(),
                name.as_deref(),
            )
        }
        Target::Django { settings } => (
            "django",
            settings.as_str().into_pyobject(py)?.into_any(),
            None,
        ),
    };
    let application = prelude::application(py)?;
    let callable = application.call_method1(
        intern!(py, "find"),
        (kind, place, callable, &spec.paste_global),
    )?;
    application.call_method1(intern!(py, "import_all"), (&spec.imports,))?;
    prelude.call_method0(intern!(py, "load_rest_of_django"))?;
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

/// Calls a function of the prelude. A failure is logged, and the server goes on.
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
            Self::File {
                path,
                callable: Some(callable),
            } => write!(f, "{}:{callable}", path.display()),
            Self::File {
                path,
                callable: None,
            } => write!(f, "{}", path.display()),
            Self::Paste {
                path,
                name: Some(name),
            } => write!(f, "{}#{name}", path.display()),
            Self::Paste { path, name: None } => write!(f, "{}", path.display()),
            Self::Django { settings } => write!(f, "the Django project of {settings}"),
        }
    }
}
