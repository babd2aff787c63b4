//! Helpers of the tests: an interpreter, applications of a few lines, requests, and answers as values.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, mpsc};
use std::thread;
use std::time::Duration;

use crate::{App, Fetched, LoadError, Spec, Target};
use exchange::{After, Body, Extent, Gone, Head, Lines, Reply, Request, Version};
use pyo3::prelude::*;
use pyo3::types::PyModule;

/// Runs `test` in the interpreter that all tests share.
pub(super) fn attached<T>(test: impl FnOnce(Python<'_>) -> T) -> T {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        #[cfg(feature = "embed")]
        crate::Interpreter::start(&crate::Start::default()).unwrap();
        #[cfg(not(feature = "embed"))]
        Python::initialize();
    });
    Python::attach(test)
}

pub(super) fn spec(target: Target) -> Spec {
    Spec {
        target,
        paste_global: Vec::new(),
        imports: Vec::new(),
        python_path: Vec::new(),
        env: Vec::new(),
        script_name: String::new(),
        multithread: false,
        multiprocess: true,
    }
}

/// Makes a new module of `code`; returns the module and its name.
pub(super) fn module<'py>(py: Python<'py>, code: &str) -> (Bound<'py, PyModule>, String) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("case_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let c_name = CString::new(name.as_str()).unwrap();
    let module = PyModule::from_code(py, &CString::new(code).unwrap(), &c_name, &c_name).unwrap();
    (module, name)
}

pub(super) fn load(py: Python<'_>, code: &str) -> Result<App, LoadError> {
    let (_, module) = module(py, code);
    App::load(
        py,
        &spec(Target::Module {
            module,
            callable: None,
        }),
    )
}

/// One part as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) status: Option<u16>,
    pub(super) data: String,
    pub(super) after: After,
}

/// Collects an answer.
pub(super) struct Recorder {
    pub(super) parts: Vec<Part>,
    pub(super) reason: String,
    pub(super) headers: Vec<(String, String)>,
    /// Parts that are accepted before the client has gone.
    pub(super) patience: usize,
    /// The answer of `fits`. If it is false, sending waits until another thread has been attached.
    pub(super) roomy: bool,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            reason: String::new(),
            headers: Vec::new(),
            patience: usize::MAX,
            roomy: true,
        }
    }
}

impl Reply for Recorder {
    fn fits(&self, _bytes: usize) -> bool {
        self.roomy
    }

    fn send(&mut self, head: Option<&Head<'_>>, data: &[u8], after: After) -> Result<(), Gone> {
        if !self.roomy {
            wait_until_another_thread_attaches();
        }
        if self.parts.len() == self.patience {
            return Err(Gone);
        }
        if let Some(head) = head {
            assert!(self.parts.is_empty(), "the head comes with the first part");
            self.reason = latin1(head.reason);
            self.headers = head
                .headers
                .iter()
                .map(|(name, value)| (latin1(name), latin1(value)))
                .collect();
        }
        let part = Part {
            status: head.map(|head| head.status),
            data: latin1(data),
            after,
        };
        assert!(
            self.parts
                .last()
                .is_none_or(|last| last.after == After::More),
            "{part:?} after the end"
        );
        self.parts.push(part);
        Ok(())
    }

    fn send_file(&mut self, head: Option<&Head<'_>>, extent: Extent) -> Result<(), Gone> {
        self.send(head, &[], After::File)?;
        let mut data = vec![0; usize::try_from(extent.length).unwrap()];
        std::fs::File::from(extent.file)
            .read_exact_at(&mut data, extent.offset)
            .unwrap();
        self.parts.last_mut().unwrap().data = latin1(&data);
        Ok(())
    }
}

impl Recorder {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn body(&self) -> String {
        self.parts.iter().map(|part| part.data.as_str()).collect()
    }

    /// `200:head body|More`, one word a part.
    pub(super) fn parts_as_text(&self) -> Vec<String> {
        let part = |part: &Part| match part.status {
            Some(status) => format!("{status} {} {:?}", part.data, part.after),
            None => format!("{} {:?}", part.data, part.after),
        };
        self.parts.iter().map(part).collect()
    }
}

/// Waits until another thread has been attached, for which this one must be detached.
fn wait_until_another_thread_attaches() {
    let (ready, is_ready) = mpsc::channel();
    let attach = move || Python::attach(|_| ready.send(()).unwrap());
    thread::Builder::new().spawn(attach).unwrap();
    is_ready
        .recv_timeout(Duration::from_secs(20))
        .expect("the interpreter was not released");
}

/// A request to be sent.
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) query: &'static str,
    pub(super) authority: &'static str,
    pub(super) headers: Vec<(&'static str, &'static [u8])>,
    pub(super) body: Vec<u8>,
    pub(super) file: Option<(OwnedFd, u64)>,
    pub(super) version: Version,
    pub(super) https: bool,
    pub(super) remote: (&'static str, u16),
}

impl Ask {
    pub(super) fn get(path: &'static str) -> Self {
        Self {
            method: "GET",
            path,
            query: "",
            authority: "",
            headers: vec![("host", b"site.example:8000")],
            body: Vec::new(),
            file: None,
            version: Version::Http11,
            https: false,
            remote: ("192.0.2.7", 50123),
        }
    }

    pub(super) fn send(self, py: Python<'_>, app: &App) -> Recorder {
        let mut recorder = Recorder::default();
        self.send_to(py, app, &mut recorder);
        recorder
    }

    pub(super) fn send_to(self, py: Python<'_>, app: &App, reply: &mut dyn Reply) {
        let mut lines = Vec::new();
        for (name, value) in &self.headers {
            lines.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        let body = self
            .file
            .as_ref()
            .map_or(Body::Memory(&self.body), |(_, size)| Body::File(*size));
        let request = Request {
            method: self.method.as_bytes(),
            path: self.path.as_bytes(),
            query: self.query.as_bytes(),
            version: self.version,
            https: self.https,
            remote_addr: self.remote.0.as_bytes(),
            remote_port: self.remote.1,
            server_name: b"site.example",
            server_port: 8000,
            authority: self.authority.as_bytes(),
            fields: Lines::new(&lines),
            body,
        };
        let fetched = self
            .file
            .map_or(Fetched::Nothing, |(file, _)| Fetched::File(file));
        let _ = app.answer(py, &request, fetched, reply);
    }
}

pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// The tracebacks that are logged while `act` runs on this thread.
pub(super) fn tracebacks(act: impl FnOnce()) -> Vec<String> {
    let kept = Tracebacks::default();
    tracing::subscriber::with_default(kept.clone(), act);
    let texts = kept.0.lock().unwrap();
    texts.clone()
}

/// Collects the events with tracebacks.
#[derive(Clone, Debug, Default)]
struct Tracebacks(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Tracebacks {
    fn enabled(&self, what: &tracing::Metadata<'_>) -> bool {
        what.target() == crate::TRACEBACK
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(
            &mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                self.0.lock().unwrap().push(format!("{value:?}"));
            },
        );
    }

    // Spans are not used.
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
