//! What the requests of one connection have in common: its addresses, and mostly the whole block of header fields. What was
//! made of them for one request serves the next.
//!
//! Credentials, and fields that may be such, are kept for no request but their own: their
//! values are blank in what is kept, and made anew.

use std::ops::Range;

use exchange::{Request, Version};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::text::text;

/// A connection has one of so many sets, in which there are so many places.
const SETS: usize = 32;
const PLACES: usize = 4;
/// Longer blocks are made anew each time: what is kept is to be small.
const LONGEST: usize = 2048;

/// The blocks that came last.
#[derive(Debug, Default)]
pub(crate) struct EnvironCache(Vec<Set>);

/// Blocks of connections, the one that came first in the first place.
type Set = Vec<Block>;

/// What is compared, and what was made of it.
#[derive(Debug)]
struct Block {
    numbers: (u16, u16, Version, bool),
    names: [Vec<u8>; 3],
    /// The fields, with blanks in the place of secrets.
    lines: Vec<u8>,
    secrets: Vec<Secret>,
    framed: bool,
    /// Made when the block comes for the second time.
    environ: Option<Py<PyDict>>,
}

/// A value that is not kept.
#[derive(Debug)]
pub(crate) struct Secret {
    /// Where it stands in the fields.
    pub(crate) place: Range<usize>,
    pub(crate) key: Py<PyString>,
}

/// What was made of a block.
#[derive(Debug)]
pub(crate) struct Found<'py> {
    pub(crate) environ: Bound<'py, PyDict>,
    /// A field announced a body.
    pub(crate) framed: bool,
}

impl EnvironCache {
    /// An environ with all that a request of the same connection and block had.
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

    /// Keeps what has been made of a request, or the request alone when it is the first of its kind. `secrets` is nothing
    /// when it cannot be told which values are secret.
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
        // A connection has one block: what it sends now is what it sends next.
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

/// Ports that follow one another often differ by two.
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

    /// Whether the request came on the same connection, as far as that can be told.
    fn is_of(&self, request: &Request<'_>) -> bool {
        let [remote_addr, ..] = names(request);
        self.numbers.0 == request.remote_port && self.names[0] == remote_addr
    }

    /// Whether the request differs from what is kept in its secrets at most.
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
            // A value has no line end, and nothing to be trimmed.
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
