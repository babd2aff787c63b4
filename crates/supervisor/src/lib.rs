//! The effects: processes, signals, listeners, generations.
//!
//! [`run`] is the supervisor's life: it starts the front and the mold, has the mold fork children, and sees to it that
//! there are always as many as there should be. What to do next is decided by the crate `pool`; here it is done.
//! It runs in one thread and sleeps in `poll`. It neither accepts a connection nor touches Python.
//!
//! Each process that it starts begins with an empty table: signals back to harmless, the supervisor's descriptors
//! closed, and the kernel told to kill it should the supervisor die.

mod address;
mod bind_error;
mod birth;
mod changes;
mod channel;
mod computing;
mod config;
pub mod control;
mod deaths;
mod demand;
pub mod exit;
mod family;
mod hearing;
mod identity;
mod limits;
mod listeners;
mod log_files;
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
mod reloads;
mod retiring;
mod retry;
mod roles;
mod scaling;
mod signals;
pub mod sink;
mod stage;
mod starting;
mod stopping;
mod successor;
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

use exchange::Exchange;
use nix::unistd::getpid;
use tracing::{error, warn};

pub use address::{Address, AddressError};
pub use bind_error::BindError;
pub use birth::{AroundFork, ChildLink, MoldLink, end_copy, fork_child};
pub use config::{Preload, Program, Reread, Settings};
pub use identity::{Group, Identity, IdentityError, User, is_root, own_uid, set_umask};
pub use limits::{allow_descriptors, limit_main_stack, processor_time};
pub use listeners::{Listener, Local};
pub use memory::memory_limit;
pub use message::{ChildOrder, ChildReport, MoldReport, Order, Spawn, Unloadable};
pub use output::give_up_unread_output;
pub use places::Place;
pub use roles::{MoldBirth, Roles, Serving};
pub use signals::withhold as withhold_signals;
pub use successor::{Inheritance, Predecessor, VARIABLE as TAKE_OVER};
pub use sys::descriptors::{copy_of_inherited, open_standard};
pub use sys::fork::threads;
pub use sys::heap::give_back_memory;
pub use sys::socket::untaken;
pub use trial::{Tried, try_out};
pub use verdict::Verdict;
pub use watch::Include;

use monitor::{End, Monitor, Newborn};

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
