//! Starts CPython inside this program, or adopts the one that this program runs in, and calls its hooks around forks.
#![expect(
    unsafe_code,
    reason = "starting an interpreter and forking it are calls of CPython's C API"
)]

use std::path::{Path, PathBuf};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tracing::debug;

use crate::prelude;

#[cfg(feature = "embed")]
pub use embed::Start;

/// The interpreter of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    version: (u8, u8),
    about: String,
    prefix: PathBuf,
}

/// There is no interpreter to work with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The Python that was asked for does not exist.
    #[error("there is no Python at {0}")]
    NotThere(PathBuf),
    /// The virtual environment belongs to another version.
    #[error("virtual environment {environment} is for Python {version}, but {own}")]
    OtherVersion {
        /// The virtual environment.
        environment: PathBuf,
        /// The version it was made for.
        version: String,
        /// Which version there is, and of what.
        own: String,
    },
    /// What was asked for is neither a virtual environment nor the Python of this program.
    #[error(
        "{python} is not the Python of this rwsgi, which is {own}, and not in a virtual environment of it"
    )]
    Foreign {
        /// What was asked for.
        python: PathBuf,
        /// The prefix of this program's Python.
        own: PathBuf,
    },
    /// The interpreter has no global lock.
    #[error(
        "CPython {0} is a free-threaded build, which rwsgi does not support yet: use one that has the global lock"
    )]
    FreeThreaded(String),
    /// CPython refuses to start.
    #[error("CPython does not start: {0}")]
    Refused(String),
}

impl Interpreter {
    /// Whether an interpreter runs in this process, so that [`Interpreter::adopt`] is the way.
    #[must_use]
    pub fn is_running() -> bool {
        // SAFETY: CPython allows this call at any time, before initialisation too.
        unsafe { ffi::Py_IsInitialized() != 0 }
    }

    /// Takes over the interpreter that runs in this process, which has just been forked from the one that started it.
    ///
    /// Calls CPython's hooks for that fork, so it must be called on the only thread of the process.
    ///
    /// # Errors
    /// When `python` names another interpreter or environment than this one, or Python code fails.
    pub fn adopt(python: Option<&Path>) -> Result<Self, StartError> {
        Python::attach(|py| {
            // The process before the fork ran no Python code, so the hooks for before and after it can both be called now.
            before_fork(py);
            after_fork_child(py);
            complete_start(py).map_err(refused)?;
            if let Some(python) = python {
                if Self::other(python)?.is_some() {
                    let sys = py.import("sys").map_err(refused)?;
                    return Err(StartError::Foreign {
                        python: python.to_owned(),
                        own: attribute(&sys, "executable")?,
                    });
                }
                let running = py.version_info();
                is_made_for(python, &format!("{}.{}", running.major, running.minor)).map_err(
                    |(environment, version)| StartError::OtherVersion {
                        environment,
                        version,
                        own: format!("its interpreter is {}.{}", running.major, running.minor),
                    },
                )?;
            }
            Self::describe(py)
        })
    }

    /// The program to start for an interpreter or environment that is not the one of this process. `None` where it is, or
    /// where no interpreter runs.
    ///
    /// # Errors
    /// When there is none.
    pub fn other(python: &Path) -> Result<Option<PathBuf>, StartError> {
        if !Self::is_running() {
            return Ok(None);
        }
        let (prefix, base, executable): (PathBuf, PathBuf, PathBuf) = Python::attach(|py| {
            let sys = py.import("sys").map_err(refused)?;
            Ok::<_, StartError>((
                attribute(&sys, "prefix")?,
                attribute(&sys, "base_prefix")?,
                attribute(&sys, "executable")?,
            ))
        })?;
        let environment = environment_of(python);
        let program = if python.is_dir() {
            let folder = environment.as_deref().unwrap_or(python);
            let names = ["bin/python", "bin/python3"].iter();
            names
                .map(|name| folder.join(name))
                .find(|program| program.exists())
        } else {
            python.exists().then(|| python.to_owned())
        };
        let program = program.ok_or_else(|| StartError::NotThere(python.to_owned()))?;
        // Environments may link to the same program, so their folders are compared.
        let same = match environment {
            Some(environment) => is_same(&environment, &prefix),
            None => prefix == base && is_same(&program, &executable),
        };
        Ok((!same).then_some(program))
    }

    /// Major and minor version.
    #[must_use]
    pub fn version(&self) -> (u8, u8) {
        self.version
    }

    /// Version and path for messages: `3.11.7 (/srv/venv/bin/python)`.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The folder of its environment.
    #[must_use]
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    fn describe(py: Python<'_>) -> Result<Self, StartError> {
        // Python takes the thread that imports it first for the main thread.
        py.import("threading").map_err(refused)?;
        let version = py.version_info();
        let sys = py.import("sys").map_err(refused)?;
        if is_free_threaded(&attribute::<String>(&sys, "abiflags")?) {
            return Err(StartError::FreeThreaded(attribute(&sys, "version")?));
        }
        let (executable, prefix): (PathBuf, PathBuf) =
            (attribute(&sys, "executable")?, attribute(&sys, "prefix")?);
        let about = format!(
            "{}.{}.{} ({})",
            version.major,
            version.minor,
            version.patch,
            executable.display()
        );
        debug!(python = about, "interpreter ready");
        Ok(Self {
            version: (version.major, version.minor),
            about,
            prefix,
        })
    }
}

/// Completes the interpreter's start, where `site` was left out.
static COMPLETE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The interpreter of this process was started without `site`: `complete` is to be called in each process that adopts it.
pub fn complete_start_with(py: Python<'_>, complete: Py<PyAny>) {
    // Set once, at the start.
    let _ = COMPLETE.set(py, complete);
}

fn complete_start(py: Python<'_>) -> PyResult<()> {
    let Some(complete) = COMPLETE.get(py) else {
        return Ok(());
    };
    // multiprocessing starts processes with the options that these flags stand for.
    let flags = py.import("sys")?.getattr("flags")?;
    let names = flags.get_type().getattr("__match_args__")?;
    let index: isize = names.call_method1("index", ("no_site",))?.extract()?;
    let no = 0_u8.into_pyobject(py)?.into_ptr();
    // SAFETY: this thread is attached. The object is a struct sequence, the index is that of one of its fields, and the call
    // takes over the reference to the number. CPython itself sets fields of this object in the same way after its start.
    unsafe { ffi::PyStructSequence_SetItem(flags.as_ptr(), index, no) };
    complete.call0(py).map(drop)
}

/// Resolves the links in `sys.path`, all but those of the standard library, so that later imports come from the present
/// release also when a deploy changes the links.
pub fn follow_path(py: Python<'_>) {
    let followed = || -> PyResult<()> {
        let path = py.import("sys")?.getattr("path")?;
        let library: PathBuf = py.import("os")?.getattr("__file__")?.extract()?;
        let library = library.parent().unwrap_or(&library);
        for index in 0..path.len()? {
            // An entry need not be a path: there are hooks for others.
            let Ok(entry) = path.get_item(index)?.extract::<PathBuf>() else {
                continue;
            };
            if entry.is_absolute()
                && !entry.starts_with(library)
                && let Ok(real) = entry.canonicalize()
                && real != entry
            {
                path.set_item(index, real.as_os_str())?;
            }
        }
        Ok(())
    };
    if let Err(raised) = followed() {
        tracing::warn!(error = %raised, "sys.path cannot be read");
    }
}

/// To be called just before a fork, by the thread that forks; it stays attached until it calls one of the next two.
pub fn before_fork(py: Python<'_>) {
    prelude::about_to_fork(py, true);
    // SAFETY: `py` proves that this thread is attached to the interpreter.
    unsafe { ffi::PyOS_BeforeFork() }
}

/// To be called after a fork in the process that forked, by the same thread.
pub fn after_fork_parent(py: Python<'_>) {
    // SAFETY: `py` proves that this thread is attached to the interpreter.
    unsafe { ffi::PyOS_AfterFork_Parent() }
    prelude::about_to_fork(py, false);
}

/// To be called after a fork in the new process, by its only thread. Exit functions that the former process has registered
/// are not run in this one.
pub fn after_fork_child(py: Python<'_>) {
    // SAFETY: `py` proves that this thread is attached to the interpreter.
    unsafe { ffi::PyOS_AfterFork_Child() }
    prelude::forked(py);
}

/// How many references there are to an object, with this one.
pub(crate) fn references<T>(object: &Bound<'_, T>) -> isize {
    // SAFETY: `Bound` proves that this thread is attached, and holds a reference to the object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

fn attribute<T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr>>(
    object: &Bound<'_, PyModule>,
    name: &str,
) -> Result<T, StartError> {
    object
        .getattr(name)
        .and_then(|value| value.extract())
        .map_err(refused)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn refused(raised: PyErr) -> StartError {
    StartError::Refused(raised.to_string())
}

/// Whether `sys.abiflags` are those of a free-threaded build, also when its GIL is enabled by `PYTHON_GIL=1`.
fn is_free_threaded(abiflags: &str) -> bool {
    abiflags.contains('t')
}

/// The virtual environment at a path, or of the program at a path.
fn environment_of(python: &Path) -> Option<PathBuf> {
    python
        .ancestors()
        .take(3)
        .find(|folder| folder.join("pyvenv.cfg").is_file())
        .map(Path::to_owned)
}

/// Checks that the environment of `python`, if it has one, is for this minor version. The error is the environment and its
/// version.
fn is_made_for(python: &Path, running: &str) -> Result<(), (PathBuf, String)> {
    let Some(environment) = environment_of(python) else {
        return Ok(());
    };
    let settings = std::fs::read_to_string(environment.join("pyvenv.cfg")).unwrap_or_default();
    match environment_version(&settings) {
        Some(version) if minor(&version).as_deref() != Some(running) => Err((environment, version)),
        _ => Ok(()),
    }
}

/// The version in `pyvenv.cfg`: `version` by venv, `version_info` by virtualenv and uv.
fn environment_version(settings: &str) -> Option<String> {
    settings.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        matches!(key.trim(), "version" | "version_info").then(|| value.trim().to_owned())
    })
}

/// The first two numbers of a version.
fn minor(version: &str) -> Option<String> {
    let mut numbers = version
        .trim()
        .split(|c: char| !c.is_ascii_digit())
        .filter(|number| !number.is_empty());
    Some(format!("{}.{}", numbers.next()?, numbers.next()?))
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(feature = "embed")]
mod embed {
    //! The start by `PyConfig`, which is outside the stable ABI.

    use std::ffi::{CStr, CString, c_int};
    use std::fs;
    use std::mem::MaybeUninit;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    use pyo3::ffi::{self, PyConfig, PyStatus};
    use pyo3::prelude::*;

    use super::{Interpreter, StartError, environment_of, is_made_for, is_same, minor};

    /// How CPython is to be started.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Start {
        /// A virtual environment or its `python`; without it, the Python that this program is linked with.
        pub python: Option<PathBuf>,
    }

    impl Interpreter {
        /// Starts CPython on this thread, which becomes Python's main thread. It is detached afterwards.
        ///
        /// Signal handlers stay as they are, except that Python sets its own for SIGINT where that has the default action.
        ///
        /// # Errors
        /// [`StartError`]; a wrong `python` is found before anything is started.
        ///
        /// # Panics
        /// When an interpreter is running already.
        pub fn start(start: &Start) -> Result<Self, StartError> {
            assert!(
                !Self::is_running(),
                "an interpreter runs in this process already"
            );
            let version = linked_version();
            let home = linked_prefix(&version);
            let program = match &start.python {
                Some(python) => Some(chosen_program(python, home.as_deref(), &version)?),
                None => home
                    .as_ref()
                    .map(|home| home.join(format!("bin/python{version}"))),
            };
            pre_initialize()?;
            let mut config = Config::new();
            // The standard library of the linked libpython, also in an environment of another build: modules that are
            // built in there may be missing here, and the other way round.
            if let Some(home) = home {
                config.set(Text::Home, &home)?;
            }
            if let Some(program) = program {
                config.set(Text::ProgramName, &program)?;
            }
            config.initialize()?;
            Python::attach(Self::describe)
        }
    }

    /// A path of the configuration.
    #[derive(Clone, Copy)]
    enum Text {
        Home,
        ProgramName,
    }

    /// A `PyConfig` that is cleared when dropped.
    struct Config(Box<PyConfig>);

    impl Config {
        fn new() -> Self {
            let mut config = Box::new(MaybeUninit::<PyConfig>::uninit());
            // SAFETY: the pointer is to memory of the right size, which the call fills.
            unsafe { ffi::PyConfig_InitPythonConfig(config.as_mut_ptr()) };
            // SAFETY: the call above has filled it.
            let mut config = unsafe { config.assume_init() };
            // Signals belong to the supervisor, command line and standard streams to the program.
            config.install_signal_handlers = 0;
            config.parse_argv = 0;
            config.configure_c_stdio = 0;
            Self(config)
        }

        fn set(&mut self, text: Text, value: &Path) -> Result<(), StartError> {
            let value = CString::new(value.as_os_str().as_bytes()).map_err(|_| {
                StartError::Refused(format!("a NUL in the path {}", value.display()))
            })?;
            let config: *mut PyConfig = &raw mut *self.0;
            let field = match text {
                // SAFETY: `config` points to the whole, initialised struct; only an address in it is taken.
                Text::Home => unsafe { &raw mut (*config).home },
                // SAFETY: as above.
                Text::ProgramName => unsafe { &raw mut (*config).program_name },
            };
            // SAFETY: both pointers come from the struct just above, and `value` ends with a NUL.
            check(unsafe { ffi::PyConfig_SetBytesString(config, field, value.as_ptr()) })
        }

        fn initialize(mut self) -> Result<(), StartError> {
            // SAFETY: `start` has found no interpreter running, and the struct is initialised.
            check(unsafe { ffi::Py_InitializeFromConfig(&raw mut *self.0) })?;
            // SAFETY: the successful call above has left this thread attached. Its state stays bound to the thread,
            // and `Python::attach` finds it there.
            unsafe { ffi::PyEval_SaveThread() };
            Ok(())
        }
    }

    impl Drop for Config {
        fn drop(&mut self) {
            // SAFETY: `new` has initialised the struct, and its texts are used no more.
            unsafe { ffi::PyConfig_Clear(&raw mut *self.0) };
        }
    }

    fn pre_initialize() -> Result<(), StartError> {
        let mut config = MaybeUninit::<ffi::PyPreConfig>::uninit();
        // SAFETY: the pointer is to memory of the right size, which the call fills.
        unsafe { ffi::PyPreConfig_InitPythonConfig(config.as_mut_ptr()) };
        // SAFETY: the call above has filled it.
        let mut config = unsafe { config.assume_init() };
        config.parse_argv = 0;
        // SAFETY: `start` has found no interpreter running, and the struct is initialised.
        check(unsafe { ffi::Py_PreInitialize(&raw const config) })
    }

    fn check(status: PyStatus) -> Result<(), StartError> {
        // SAFETY: `status` is what a call of CPython has just returned.
        let failed: c_int = unsafe { ffi::PyStatus_Exception(status) };
        if failed == 0 {
            return Ok(());
        }
        let message = if status.err_msg.is_null() {
            "no reason given".into()
        } else {
            // SAFETY: not null as just seen; such messages are literals of CPython.
            unsafe { CStr::from_ptr(status.err_msg) }.to_string_lossy()
        };
        Err(StartError::Refused(message.into_owned()))
    }

    /// `3.11`
    fn linked_version() -> String {
        // SAFETY: CPython allows this call before initialisation, and returns text of its own that stays.
        let version = unsafe { ffi::Py_GetVersion() };
        // SAFETY: as above.
        let version = unsafe { CStr::from_ptr(version) }.to_string_lossy();
        minor(&version).unwrap_or_default()
    }

    /// The prefix of the loaded libpython, by /proc/self/maps, since a library may be moved after the build.
    ///
    /// `None` when libpython is part of the program; CPython then searches by itself.
    fn linked_prefix(version: &str) -> Option<PathBuf> {
        let maps = fs::read_to_string("/proc/self/maps").ok()?;
        prefix_in(&maps, version, |folder| {
            ["lib", "lib64"].iter().any(|lib| {
                folder
                    .join(lib)
                    .join(format!("python{version}/os.py"))
                    .is_file()
            })
        })
    }

    fn prefix_in(
        maps: &str,
        version: &str,
        has_library: impl Fn(&Path) -> bool,
    ) -> Option<PathBuf> {
        let start = format!("libpython{version}");
        let mapped = maps
            .lines()
            .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
        let mut named = mapped.filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            // Letters of a build variant may follow, but no further digit.
            name.and_then(|name| name.strip_prefix(&start))
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        named
            .next()?
            .ancestors()
            .skip(1)
            .find(|folder| has_library(folder))
            .map(Path::to_owned)
    }

    /// The program whose environment CPython is to use. Checks that it is for this libpython.
    fn chosen_program(
        python: &Path,
        home: Option<&Path>,
        version: &str,
    ) -> Result<PathBuf, StartError> {
        if !python.exists() {
            return Err(StartError::NotThere(python.to_owned()));
        }
        if let Some(environment) = environment_of(python) {
            is_made_for(python, version).map_err(|(environment, made_for)| {
                StartError::OtherVersion {
                    environment,
                    version: made_for,
                    own: format!("this rwsgi is linked with libpython {version}"),
                }
            })?;
            return Ok(if python.is_dir() {
                environment.join("bin/python")
            } else {
                python.to_owned()
            });
        }
        let own = home
            .map(|home| home.join(format!("bin/python{version}")))
            .unwrap_or_default();
        if is_same(python, &own) {
            Ok(own)
        } else {
            Err(StartError::Foreign {
                python: python.to_owned(),
                own,
            })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::super::environment_version;
        use super::*;

        #[test]
        fn a_free_threaded_build_is_found_by_its_flags() {
            for (flags, expected) in [("", false), ("d", false), ("t", true), ("td", true)] {
                assert_eq!(super::super::is_free_threaded(flags), expected, "{flags}");
            }
        }

        #[test]
        fn the_version_of_an_environment_is_read_from_either_key() {
            let venv = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n";
            assert_eq!(environment_version(venv).as_deref(), Some("3.11.2"));
            assert_eq!(
                environment_version("version_info = 3.12.1.final.0").as_deref(),
                Some("3.12.1.final.0")
            );
            assert_eq!(environment_version("home = /version = 3\n"), None);
        }

        #[test]
        fn the_minor_version_is_the_first_two_numbers() {
            for (text, expected) in [
                ("3.11.7 (main, Jan 1)", "3.11"),
                ("3.13", "3.13"),
                ("3.12.1.final.0", "3.12"),
            ] {
                assert_eq!(minor(text).as_deref(), Some(expected));
            }
            assert_eq!(minor("three"), None);
        }

        #[test]
        fn the_prefix_is_above_the_library_that_is_mapped() {
            let maps = "7f0-7f1 r--p 00000000 08:01 42    /opt/x/lib/libpython3.1.so\n\
                        7f1-7f2 r-xp 00000000 08:01 42    /usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0\n\
                        7f2-7f3 rw-p 00000000 00:00 0 \n";
            let usr = |folder: &Path| folder == Path::new("/usr");
            assert_eq!(prefix_in(maps, "3.11", usr), Some(PathBuf::from("/usr")));
            assert_eq!(prefix_in(maps, "3.12", usr), None);
            assert_eq!(
                prefix_in(maps, "3.1", |folder| folder.ends_with("x")),
                Some(PathBuf::from("/opt/x"))
            );
        }
    }
}
