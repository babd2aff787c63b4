//! The dictionary that the application is called with: PEP 3333 and RFC 3875.
//!
//! The items that are the same for every request are in a template, which is copied; keys are interned once.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use exchange::{Body, Request, Version};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::environ_cache::{EnvironCache, Found, Secret};
use crate::header_keys::{Field, HeaderKeys};
use crate::text::{CachedStr, characters, text};

/// The values that are the same for every request of an application.
pub(crate) struct Fixed<'a, 'py> {
    pub(crate) script_name: &'a str,
    pub(crate) multithread: bool,
    pub(crate) multiprocess: bool,
    /// `wsgi.errors`.
    pub(crate) errors: Bound<'py, PyAny>,
    /// `wsgi.file_wrapper`.
    pub(crate) file_wrapper: &'a Bound<'py, PyAny>,
}

/// Makes the environ of each request.
#[derive(Debug)]
pub(crate) struct Environs {
    template: Py<PyDict>,
    /// Bytes of the mount point, without a slash at the end.
    script_name: Vec<u8>,
    caches: Mutex<Caches>,
}

/// Objects of former requests that later ones use again.
#[derive(Debug)]
struct Caches {
    environs: EnvironCache,
    header_keys: HeaderKeys,
    server_name: CachedStr,
    server_port: CachedStr,
    remote_addr: CachedStr,
}

impl Environs {
    pub(crate) fn new(py: Python<'_>, fixed: &Fixed<'_, '_>) -> PyResult<Self> {
        let script_name = fixed.script_name.trim_end_matches('/').as_bytes().to_vec();
        let template = PyDict::new(py);
        for (key, value) in [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            (
                "SERVER_SOFTWARE",
                concat!("rwsgi/", env!("CARGO_PKG_VERSION")),
            ),
            // Placeholders: a copy in which they are replaced need not grow.
            ("REQUEST_METHOD", "GET"),
            ("PATH_INFO", ""),
            ("QUERY_STRING", ""),
            ("REQUEST_URI", "/"),
            ("RAW_URI", "/"),
            ("SERVER_NAME", ""),
            ("SERVER_PORT", ""),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", ""),
            ("REMOTE_PORT", ""),
            ("wsgi.url_scheme", "http"),
        ] {
            template.set_item(PyString::intern(py, key), PyString::intern(py, value))?;
        }
        template.set_item(intern!(py, "SCRIPT_NAME"), text(py, &script_name)?)?;
        template.set_item(intern!(py, "wsgi.version"), PyTuple::new(py, [1, 0])?)?;
        template.set_item(intern!(py, "wsgi.errors"), &fixed.errors)?;
        template.set_item(intern!(py, "wsgi.file_wrapper"), fixed.file_wrapper)?;
        template.set_item(intern!(py, "wsgi.input"), py.None())?;
        template.set_item(intern!(py, "wsgi.input_terminated"), true)?;
        template.set_item(intern!(py, "wsgi.multithread"), fixed.multithread)?;
        template.set_item(intern!(py, "wsgi.multiprocess"), fixed.multiprocess)?;
        template.set_item(intern!(py, "wsgi.run_once"), false)?;
        make_room(&template)?;
        Ok(Self {
            template: template.unbind(),
            script_name,
            caches: Mutex::new(Caches {
                environs: EnvironCache::default(),
                header_keys: HeaderKeys::new(py),
                server_name: CachedStr::new(),
                server_port: CachedStr::new(),
                remote_addr: CachedStr::new(),
            }),
        })
    }

    /// Sets the generation and the child.
    pub(crate) fn place(
        &self,
        py: Python<'_>,
        child: Option<u16>,
        generation: u32,
    ) -> PyResult<()> {
        let template = self.template.bind(py);
        template.set_item(intern!(py, "rwsgi.generation"), generation)?;
        if let Some(child) = child {
            template.set_item(intern!(py, "rwsgi.child"), child)?;
        }
        // Cached environs have the former values.
        let mut caches = self
            .caches
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner);
        caches.environs = EnvironCache::default();
        Ok(())
    }

    /// The environ of a request; `None` when its path is outside the mount point.
    pub(crate) fn make<'py>(
        &self,
        py: Python<'py>,
        request: &Request<'_>,
        input: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let path = percent_decoded(request.path);
        let Some(path) = self.below_mount(&path) else {
            return Ok(None);
        };
        // No code of the application runs under the lock, so it is held only for a short time.
        let mut caches = self
            .caches
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner);
        let Found { environ, framed } = match caches.environs.find(py, request)? {
            Some(found) => found,
            None => caches.make(py, self.template.bind(py), request)?,
        };
        drop(caches);
        environ.set_item(intern!(py, "PATH_INFO"), text(py, path)?)?;
        environ.set_item(intern!(py, "wsgi.input"), input)?;
        request_line(py, &environ, request)?;
        let length = match request.body {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::Apart(length) | Body::File(length) => length,
        };
        if framed || length > 0 {
            let mut digits = itoa::Buffer::new();
            let length = PyString::new(py, digits.format(length));
            environ.set_item(intern!(py, "CONTENT_LENGTH"), length)?;
        }
        Ok(Some(environ))
    }

    /// What follows the mount point in a decoded path.
    fn below_mount<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rest = path.strip_prefix(self.script_name.as_slice())?;
        (self.script_name.is_empty() || rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
    }
}

impl Caches {
    /// An environ with the items of the request's connection and fields.
    fn make<'py>(
        &mut self,
        py: Python<'py>,
        template: &Bound<'py, PyDict>,
        request: &Request<'_>,
    ) -> PyResult<Found<'py>> {
        let environ = template.copy()?;
        match request.version {
            // As in the template.
            Version::Http11 => {}
            other => environ.set_item(intern!(py, "SERVER_PROTOCOL"), other.name())?,
        }
        if request.https {
            environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "https"))?;
            environ.set_item(intern!(py, "HTTPS"), intern!(py, "on"))?;
        }
        self.addresses(py, &environ, request)?;
        let mut secrets = Some(Vec::new());
        let framed = self.fields(py, &environ, request, &mut secrets)?;
        let found = Found { environ, framed };
        self.environs.keep(py, request, &found, secrets)?;
        Ok(found)
    }

    fn addresses(
        &mut self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        request: &Request<'_>,
    ) -> PyResult<()> {
        let mut digits = itoa::Buffer::new();
        environ.set_item(
            intern!(py, "SERVER_NAME"),
            self.server_name.text(py, request.server_name)?,
        )?;
        environ.set_item(
            intern!(py, "SERVER_PORT"),
            self.server_port
                .text(py, digits.format(request.server_port).as_bytes())?,
        )?;
        if !request.remote_addr.is_empty() {
            environ.set_item(
                intern!(py, "REMOTE_ADDR"),
                self.remote_addr.text(py, request.remote_addr)?,
            )?;
            environ.set_item(
                intern!(py, "REMOTE_PORT"),
                PyString::new(py, digits.format(request.remote_port)),
            )?;
        }
        Ok(())
    }

    /// Adds the header fields; returns whether one of them announced a body. `secrets` becomes `None` when a secret value is
    /// joined of several fields, so that it has no single place.
    fn fields(
        &mut self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        request: &Request<'_>,
        secrets: &mut Option<Vec<Secret>>,
    ) -> PyResult<bool> {
        let mut framed = false;
        if !request.authority.is_empty() {
            environ.set_item(intern!(py, "HTTP_HOST"), text(py, request.authority)?)?;
        }
        let lines = request.fields.as_bytes();
        for (name, place) in request.fields.places() {
            let (name, value) = (&lines[name], &lines[place.clone()]);
            if !request.authority.is_empty() && name.eq_ignore_ascii_case(b"host") {
                continue;
            }
            match self.header_keys.find(py, name, value)? {
                Field::Dropped => {}
                // The body has been unframed, and its length is taken from the bytes received.
                Field::Framing => framed = true,
                Field::Kept {
                    key,
                    value: text,
                    secret,
                } => {
                    let sole = environ.set_default(&key, text)?;
                    if !sole {
                        join(environ, &key, value)?;
                    }
                    match secrets {
                        Some(secrets) if secret && sole => {
                            let key = key.unbind();
                            secrets.push(Secret { place, key });
                        }
                        _ if secret => *secrets = None,
                        _ => {}
                    }
                }
            }
        }
        Ok(framed)
    }
}

/// Makes the template's hash table grow to the next size, so that copies have room for header fields.
fn make_room(template: &Bound<'_, PyDict>) -> PyResult<()> {
    // A dict of 22 items has a table for 42, which it keeps, also in copies, when items are deleted.
    let extra = template.len()..22;
    for key in extra.clone() {
        template.set_item(key.to_string(), ())?;
    }
    for key in extra {
        template.del_item(key.to_string())?;
    }
    Ok(())
}

/// Adds a further field of the same name to the value: RFC 3875 section 4.1.18 wants one value.
fn join(environ: &Bound<'_, PyDict>, key: &Bound<'_, PyString>, value: &[u8]) -> PyResult<()> {
    let former = environ.get_item(key)?;
    let former = former
        .as_ref()
        .map(|former| former.cast::<PyString>())
        .transpose()?;
    let former = former.map_or(Ok(""), |former| former.to_str())?;
    // RFC 9113 section 8.2.3 for cookies: they may be split, and semicolons join them.
    let separator = if *key == "HTTP_COOKIE" { "; " } else { "," };
    environ.set_item(key, format!("{former}{separator}{}", characters(value)))?;
    Ok(())
}

fn request_line(
    py: Python<'_>,
    environ: &Bound<'_, PyDict>,
    request: &Request<'_>,
) -> PyResult<()> {
    let method = match request.method {
        b"GET" => None,
        b"POST" => Some(intern!(py, "POST").clone()),
        other => Some(text(py, other)?),
    };
    if let Some(method) = method {
        environ.set_item(intern!(py, "REQUEST_METHOD"), method)?;
    }
    let target = if request.query.is_empty() {
        text(py, request.path)?
    } else {
        environ.set_item(intern!(py, "QUERY_STRING"), text(py, request.query)?)?;
        text(py, &[request.path, b"?", request.query].concat())?
    };
    environ.set_item(intern!(py, "REQUEST_URI"), &target)?;
    // As gunicorn calls it: Werkzeug and others read this one.
    environ.set_item(intern!(py, "RAW_URI"), &target)?;
    Ok(())
}

/// Invalid escapes stay as they are.
fn percent_decoded(path: &[u8]) -> Cow<'_, [u8]> {
    percent_encoding::percent_decode(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_anything_else_stands_for_itself() {
        for (path, expected) in [
            ("/", "/"),
            ("/a%20b", "/a b"),
            ("/%2F%2f", "///"),
            ("/%41%4", "/A%4"),
            ("/%", "/%"),
            ("/%zz%%41", "/%zz%A"),
            ("/%25%32%30", "/%20"),
        ] {
            assert_eq!(
                percent_decoded(path.as_bytes()),
                expected.as_bytes(),
                "{path}"
            );
        }
        assert_eq!(*percent_decoded(b"/%C3%A4"), *"/\u{e4}".as_bytes());
    }
}
