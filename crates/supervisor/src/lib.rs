//! The effects: processes, signals, listeners, generations.
//!
//! [`run`] is the supervisor's life: it starts the front and the mold, has the mold fork children, and sees to it that
//! there are always as many as there should be. What to do next is decided by the crate `pool`; here it is done.
//! It runs in one thread and sleeps in `poll`. It neither accepts a connection nor touches Python.
//!
//! Each process that it starts begins with an empty table: signals back to harmless, the supervisor's descriptors
//! closed, and the kernel told to kill it should the supervisor die.

mod address;
mod birth;
mod changes;
mod channel;
mod computing;
pub mod control;
mod deaths;
mod demand;
pub mod exit;
mod family;
mod hearing;
mod identity;
mod limits;
mod listeners;
mod logging;
mod memory;
mod message;
mod monitor;
mod notify;
mod observing;
mod output;
mod places;
mod progress;
mod reload;
mod retiring;
mod scaling;
mod signals;
pub mod sink;
mod starting;
mod stopping;
mod sys;
mod trial;
mod unix_socket;
mod upgrade;
mod verdict;
mod watch;

/// Titles of processes.
pub mod title {
    pub use crate::sys::title::prepare;
}

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use exchange::{ChildId, Exchange};
use nix::unistd::getpid;
use tracing::{error, warn};

pub use address::{Address, AddressError};
pub use birth::{AroundFork, ChildLink, MoldLink, end_copy, fork_child};
pub use identity::{Group, Identity, IdentityError, User, is_root, own_uid, set_umask};
pub use limits::{allow_descriptors, limit_main_stack, processor_time};
pub use listeners::{BindError, Listener, Local};
pub use memory::memory_limit;
pub use message::{ChildOrder, ChildReport, MoldReport, Order, Spawn, Unloadable};
pub use output::give_up_unread_output;
pub use places::Place;
pub use signals::withhold as withhold_signals;
pub use sys::descriptors::{copy_of_inherited, open_standard};
pub use sys::fork::threads;
pub use sys::heap::give_back_memory;
pub use sys::socket::untaken;
pub use trial::{Tried, try_out};
pub use upgrade::{Inheritance, Predecessor, Program, VARIABLE as TAKE_OVER};
pub use verdict::Verdict;
pub use watch::Include;

use monitor::{End, Monitor, Newborn};

/// What the operator has set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many children to keep. The exchange has places for one more than there may ever be.
    pub pool: pool::Pool,
    /// The pool is to have always the same size, memory permitting.
    pub keeps_size: bool,
    /// When a child has lived long enough.
    pub recycling: pool::Recycling,
    /// Whether the application is loaded before children are forked.
    pub preload: Preload,
    /// How long a mold or a child may take until it is ready.
    pub startup_timeout: Duration,
    /// How long a graceful stop may take.
    pub shutdown_timeout: Duration,
    /// How long to serve on after being told to stop.
    pub shutdown_delay: Duration,
    /// Files and folders of which a change asks for a reload.
    pub touch_reload: Vec<PathBuf>,
    /// A change of the application's modules asks for a reload, too.
    pub watch_modules: bool,
    /// And so does a change of these, if one of the modules does.
    pub reload_include: Vec<Include>,
    /// Another server serves until this one does.
    pub takes_over: bool,
    /// What to start when this server is to be replaced by another.
    pub program: Program,
    /// The application's name, for the titles of processes.
    pub title: String,
    /// Who the front, molds and children are, if not who the supervisor is.
    pub identity: Option<Identity>,
    /// Files that the front opens: made for its user when they are to be opened anew, since it may not do so itself.
    pub logs: Vec<PathBuf>,
}

/// Whether the application is loaded in the mold, before children are forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preload {
    /// Yes, unless something in it cannot be shared with forked children.
    Auto,
    /// Yes, in any case.
    On,
    /// No: each child loads it.
    Off,
}

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

/// What the configuration says now.
#[derive(Clone, Debug)]
pub struct Reread {
    /// What is to hold with the next generation.
    pub settings: Settings,
    /// Options that have changed and take effect only when the server is started again.
    pub need_restart: Vec<&'static str>,
}

/// What a mold is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoldBirth {
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

/// Serves until told to stop, by signals or over `control`, and returns when no process is left. `announce` is called once, when the front accepts
/// and the first child takes requests.
///
/// In the processes that are forked here, this function does not return.
pub fn run(
    settings: &Settings,
    listeners: Vec<Listener>,
    exchange: &Exchange,
    control: Option<control::Control>,
    announce: &dyn Fn(&Serving),
    roles: &dyn Roles,
) -> Verdict {
    let supervisor = getpid();
    let application = &settings.title;
    let identity = settings.identity.as_ref();
    // Forks copy one thread only, and the kernel kills by the thread that forked: both want a process with one.
    if let Some(threads @ 2..) = threads() {
        warn!(threads, "the supervisor should have one thread");
    }
    sys::title::set(
        &format!("rwsgi: supervisor ({application})"),
        "rwsgi:supervisr",
    );
    let end = match Monitor::begin(settings, listeners, exchange, control, announce, roles) {
        Ok(monitor) => monitor.watch(),
        Err(errno) => {
            error!(%errno, "cannot start");
            End::Stopped(Verdict::CannotStart)
        }
    };
    // In a process just forked, too, the monitor is gone here, and with it every descriptor that is the supervisor's.
    match end {
        End::Stopped(verdict) => verdict,
        End::Became(Newborn::Front {
            link,
            listeners,
            children,
        }) => {
            let title = format!("rwsgi: front ({application})");
            birth::be(supervisor, identity, &title, "rwsgi:front", || {
                sink::hurry(true);
                signals::write_in_background();
                roles.front(link, listeners, &children)
            })
        }
        End::Became(Newborn::Mold { link, birth }) => {
            let generation = birth.generation;
            let title = format!("rwsgi: mold gen {generation} ({application})");
            birth::be(
                supervisor,
                identity,
                &title,
                &format!("rwsgi:mold{generation}"),
                || {
                    sink::hurry(false);
                    exchange.leave_front();
                    roles.mold(MoldLink::new(link, supervisor, application), birth)
                },
            )
        }
    }
}
