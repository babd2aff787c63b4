//! What the processes of the server are to be, and what is told of them.

use std::os::fd::OwnedFd;

use exchange::ChildId;

use crate::config::{Reread, SiteId};
use crate::listen::Listener;
use crate::process::spawn::MoldLink;

/// The lives of the processes that are not the supervisor. Each runs in a fresh process of its own and returns its
/// exit code; what must happen at the end of that process is up to it.
pub trait Roles {
    /// The front: accepts on the listeners, and exchanges the messages of [`exchange::notice`] over `link`, a
    /// sequential-packet socket (blocking until told otherwise). Its end means that the supervisor wants nothing more.
    /// `children` are the processes of the children that are there already.
    fn front(&self, link: OwnedFd, listeners: Vec<Listener>, children: &[(ChildId, u32)]) -> u8;

    /// The mold: loads the application or not, reports, and carries out orders until there are no more.
    fn mold(&self, link: MoldLink, birth: MoldBirth) -> u8;

    /// Reads the configuration anew. Molds that are made from now on follow it, until [`Roles::settle`].
    ///
    /// # Errors
    /// What is wrong with it.
    fn reread(&self) -> Result<Reread, String>;

    /// Whether what was read holds from now on, for every process, or is forgotten.
    fn settle(&self, holds: bool);
}

/// What a mold is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoldBirth {
    /// The site whose application it loads.
    pub site: SiteId,
    /// The generation.
    pub generation: u32,
    /// The application is to be loaded, audited and frozen here; if not, children load it.
    pub preload: bool,
    /// No child of this generation has been ready: whether one can be is what is to be found out.
    pub is_first: bool,
}

/// The server serves.
#[derive(Clone, Debug)]
pub struct Serving {
    /// What the mold has told about itself.
    pub about: String,
    /// Where clients find the server, in the order of the listeners.
    pub urls: Vec<String>,
    /// The application was loaded before the children were forked.
    pub preload: bool,
}

/// A process that was just forked, and is to become a mold.
#[derive(Debug)]
pub(crate) struct MoldNewborn {
    /// Its line to the supervisor.
    pub(crate) link: OwnedFd,
    /// What it is for.
    pub(crate) birth: MoldBirth,
}
