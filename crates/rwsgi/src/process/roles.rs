//! The processes other than the supervisor, as far as this crate starts them.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exchange::{ChildId, Exchange};
use supervisor::{Listener, Local, MoldBirth, MoldLink, Predecessor, exit};
use tracing::{error, warn};

use super::{mold, settings};
use crate::config::{Again, Started};
use crate::host::access_log;
use crate::host::invocation::Invocation;
use crate::host::release::Release;
use crate::host::sizing::Sizing;
use crate::log;

/// The state that every process inherits.
#[derive(Debug)]
pub(crate) struct Roles {
    /// The current release.
    release: RefCell<Arc<Release>>,
    /// The release for the generation that is loading.
    next: RefCell<Option<Arc<Release>>>,
    exchange: Arc<Exchange>,
    invocation: Invocation,
    started: Started,
    /// The folder of the release at the start.
    first: Option<PathBuf>,
    /// The maximum of children in the exchange.
    limit: u16,
    /// The server that serves until this one does; only the supervisor uses this.
    predecessor: RefCell<Option<Predecessor>>,
}

impl Roles {
    pub(crate) fn new(
        release: Release,
        exchange: Arc<Exchange>,
        invocation: Invocation,
        started: Started,
        limit: u16,
        predecessor: Option<Predecessor>,
    ) -> Self {
        Self {
            first: release.folder().map(Path::to_owned),
            release: RefCell::new(Arc::new(release)),
            next: RefCell::new(None),
            exchange,
            invocation,
            started,
            limit,
            predecessor: RefCell::new(predecessor),
        }
    }

    /// Informs the predecessor, if there is one, that this server serves.
    pub(crate) fn relieve_predecessor(&self) {
        if let Some(predecessor) = self.predecessor.take() {
            predecessor.relieve();
        }
    }
}

impl supervisor::Roles for Roles {
    fn front(&self, link: OwnedFd, listeners: Vec<Listener>, children: &[(ChildId, u32)]) -> u8 {
        drop(self.predecessor.take());
        let release = self.release.borrow();
        let config = release.given();
        allow_connections(config.front.max_connections);
        let listeners = listeners.into_iter().map(listening).collect();
        let served = access_log::of(config).and_then(|access_log| {
            let surroundings = front::Surroundings {
                untaken: supervisor::untaken,
                give_back_memory: supervisor::give_back_memory,
                access_log,
            };
            let exchange = Arc::clone(&self.exchange);
            front::serve(
                config.front.clone(),
                surroundings,
                exchange,
                listeners,
                link,
                children,
            )
        });
        match served {
            Ok(()) => exit::OK,
            Err(problem) => {
                error!(error = %problem, "the front cannot serve");
                exit::INTERNAL
            }
        }
    }

    fn mold(&self, link: MoldLink, birth: MoldBirth) -> u8 {
        drop(self.predecessor.take());
        let next = self.next.borrow().clone();
        let release = next.unwrap_or_else(|| Arc::clone(&self.release.borrow()));
        let first = self.first.as_deref();
        let code = mold::live(&release, first, &self.exchange, &link, birth);
        // Closed only when the process ends: a mold whose channel ends before is killed.
        std::mem::forget(link);
        code
    }

    fn reread(&self) -> Result<supervisor::Reread, String> {
        let Again {
            config,
            need_restart,
        } = self
            .invocation
            .read_again(&self.started)
            .map_err(|problem| log::chain(&problem))?;
        if !need_restart.is_empty() {
            let options = need_restart.join(", ");
            warn!(
                options,
                "changed, which takes effect only when the server is started again"
            );
        }
        let mut sizing = Sizing::of(&config);
        sizing.log();
        sizing.fit(self.limit);
        let settings = settings::supervisor(&config, &sizing, &self.invocation);
        let release = Release::find(config, self.invocation.folder())?;
        self.next.replace(Some(Arc::new(release)));
        Ok(supervisor::Reread {
            settings,
            need_restart,
        })
    }

    fn settle(&self, holds: bool) {
        if let Some(next) = self.next.take().filter(|_| holds) {
            self.release.replace(next);
        }
    }
}

/// Raises the limit of descriptors for the front; the application keeps the original limit.
fn allow_connections(connections: usize) {
    // For listeners, the exchange and the runtime.
    const OWN: u64 = 64;
    let connections = connections as u64;
    let connected = connections + OWN;
    // Each connection may also have a file with a request body, but rarely all of them at once.
    let wanted = connected + connections;
    match supervisor::allow_descriptors(wanted) {
        Ok(allowed) if allowed < connected => {
            warn!(
                max_connections = connections,
                descriptors = allowed,
                "the limit of open files allows fewer connections"
            );
        }
        Ok(_) => {}
        Err(problem) => warn!(error = %problem, "the limit of open files cannot be raised"),
    }
}

fn listening(listener: Listener) -> front::Listening {
    let place = match listener.local() {
        Local::Unix(_) => front::Place::Unix,
        Local::Tcp(address) => front::Place::Tcp {
            name: address.ip().to_string(),
            port: address.port(),
        },
    };
    front::Listening {
        socket: listener.into_socket(),
        place,
    }
}
