//! Requests of one connection have the same addresses, and mostly the same block of header fields. So the environ made for
//! one request is copied for the next.
//!
//! The values of credentials, and of fields that may be such, are not kept: they are blank in the cache, and set for each
//! request.

use std::ops::Range;

use exchange::{Request, Version};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::text::text;

/// The cache has so many sets, chosen by the connection's port, with so many blocks each.
const SETS: usize = 32;
const PLACES: usize = 4;
/// Longer blocks of fields are not kept, to bound the memory.
const LONGEST: usize = 2048;

/// The latest blocks.
#[derive(Debug, Default)]
pub(crate) struct EnvironCache(Vec<Set>);

/// Blocks, the oldest first.
type Set = Vec<Block>;

/// What requests are compared with, and the environ made of it.
#[derive(Debug)]
struct Block {
    numbers: (u16, u16, Version, bool),
    names: [Vec<u8>; 3],
    /// The fields, with blanks in place of secrets.
    lines: Vec<u8>,
    secrets: Vec<Secret>,
    framed: bool,
    /// Made when the block comes for the second time.
    environ: Option<Py<PyDict>>,
}

/// A value that is not kept, and its key.
#[derive(Debug)]
pub(crate) struct Secret {
    /// Its range in the fields.
    pub(crate) place: Range<usize>,
    pub(crate) key: Py<PyString>,
}

/// An environ with the items of a block.
#[derive(Debug)]
pub(crate) struct Found<'py> {
    pub(crate) environ: Bound<'py, PyDict>,
    /// A field announced a body.
    pub(crate) framed: bool,
}

impl EnvironCache {
    /// A copy of the environ that was made for the same connection and fields, with this request's secrets.
    pub(crate) fn find<'py>(
        &self,
        py: Python<'py>,
        request: &Request<'_>,
    ) -> PyResult<Option<Found<'py>>> {
        let mut blocks = self.0.get(set_of(request)).into_iter().flatten();
        let Some(block) = blocks.find(|block| block.fits(request)) else {
            return Ok(None);
        };
        let Some(environ) = &block.environ else {
            return Ok(None);
        };
        let environ = environ.bind(py).copy()?;
        let lines = request.fields.as_bytes();
        for secret in &block.secrets {
            environ.set_item(&secret.key, text(py, &lines[secret.place.clone()])?)?;
        }
        Ok(Some(Found {
            environ,
            framed: block.framed,
        }))
    }

    /// Keeps a block: at its first request without the environ, which is copied at the second. Nothing is kept when
    /// `secrets` is `None`.
    pub(crate) fn keep(
        &mut self,
        py: Python<'_>,
        request: &Request<'_>,
        found: &Found<'_>,
        secrets: Option<Vec<Secret>>,
    ) -> PyResult<()> {
        let Some(secrets) = secrets.filter(|_| request.fields.as_bytes().len() <= LONGEST) else {
            return Ok(());
        };
        if self.0.is_empty() {
            self.0.resize_with(SETS, Vec::new);
        }
        let set = &mut self.0[set_of(request)];
        if let Some(block) = set.iter_mut().find(|block| block.fits(request)) {
            let environ = found.environ.copy()?;
            for secret in &secrets {
                // The key keeps its place among the others.
                environ.set_item(&secret.key, py.None())?;
            }
            block.environ = Some(environ.unbind());
            return Ok(());
        }
        let new = Block::new(request, found.framed, secrets);
        // A connection has one block, its latest.
        match set.iter_mut().find(|block| block.is_of(request)) {
            Some(block) => *block = new,
            None => {
                if set.len() == PLACES {
                    set.remove(0);
                }
                set.push(new);
            }
        }
        Ok(())
    }
}

/// Halved, since consecutive ports of a client often differ by two.
fn set_of(request: &Request<'_>) -> usize {
    usize::from(request.remote_port / 2) % SETS
}

impl Block {
    fn new(request: &Request<'_>, framed: bool, secrets: Vec<Secret>) -> Self {
        let mut lines = request.fields.as_bytes().to_vec();
        for secret in &secrets {
            lines[secret.place.clone()].fill(b' ');
        }
        Self {
            numbers: numbers(request),
            names: names(request).map(<[u8]>::to_vec),
            lines,
            secrets,
            framed,
            environ: None,
        }
    }

    /// Whether the request came from the same address and port.
    fn is_of(&self, request: &Request<'_>) -> bool {
        let [remote_addr, ..] = names(request);
        self.numbers.0 == request.remote_port && self.names[0] == remote_addr
    }

    /// Whether the request is equal to the block but for the secrets.
    fn fits(&self, request: &Request<'_>) -> bool {
        self.numbers == numbers(request)
            && self.names.iter().eq(names(request))
            && self.has_lines(request.fields.as_bytes())
    }

    fn has_lines(&self, lines: &[u8]) -> bool {
        if lines.len() != self.lines.len() {
            return false;
        }
        let mut at = 0;
        for Secret { place, .. } in &self.secrets {
            let secret = &lines[place.clone()];
            // Else the value would end elsewhere: it has no line end, and no space around it.
            if lines[at..place.start] != self.lines[at..place.start]
                || secret.contains(&b'\n')
                || secret.trim_ascii().len() != secret.len()
            {
                return false;
            }
            at = place.end;
        }
        lines[at..] == self.lines[at..]
    }
}

fn numbers(request: &Request<'_>) -> (u16, u16, Version, bool) {
    let Request {
        remote_port,
        server_port,
        version,
        https,
        ..
    } = *request;
    (remote_port, server_port, version, https)
}

fn names<'a>(request: &Request<'a>) -> [&'a [u8]; 3] {
    [request.remote_addr, request.server_name, request.authority]
}
