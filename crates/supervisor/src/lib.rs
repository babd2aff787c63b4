//! Effects of the process model: processes, signals, listeners, generations.
//!
//! [`run`] is the supervisor: it starts the front and the mold, has the mold fork children, and keeps their number.
//! The crate `pool` decides what to do; this crate does it. It runs in one thread, which sleeps in `poll`. It
//! neither accepts connections nor runs Python.
//!
//! Each process that it forks starts clean: signal handlers are reset, the supervisor's descriptors are closed, and
//! the kernel kills it when the supervisor dies.

mod config;
pub mod control;
mod ipc;
mod listen;
mod process;
mod roles;
mod server;
pub mod sink;
mod site;
mod sys;
mod systemd;

/// Exit codes.
pub use process::exit;

/// Titles of processes.
pub mod title {
    pub use crate::sys::title::prepare;
}

use exchange::Exchange;
use nix::unistd::getpid;
use tracing::{error, warn};

pub use config::{Preload, Program, Reread, Settings, SiteId};
pub use ipc::message::{ChildOrder, ChildReport, MoldReport, Order, Spawn, Unloadable};
pub use listen::address::{Address, AddressError, UnixPlace};
pub use listen::error::BindError;
pub use listen::{Listener, Local};
pub use process::exit::ExitReason;
pub use process::identity::{Group, Identity, IdentityError, User, is_root, own_uid, set_umask};
pub use process::limits::{allow_descriptors, limit_main_stack, processor_time};
pub use process::memory::memory_limit;
pub use process::output::give_up_unread_output;
pub use process::places::Place;
pub use process::signals::withhold as withhold_signals;
pub use process::spawn::{ChildLink, ForkHooks, MoldLink, end_copy, fork_child};
pub use process::trial::{Tried, try_out};
pub use roles::{MoldBirth, Roles, Serving};
pub use server::successor::{Inheritance, Predecessor, VARIABLE as TAKE_OVER};
pub use site::watch::Include;
pub use sys::descriptors::{copy_of_inherited, open_standard};
pub use sys::heap::give_back_memory;
pub use sys::procfs::{Memory, Stat, threads};
pub use sys::socket::untaken;

use process::{signals, spawn};
use roles::MoldNewborn;
use server::{End, Newborn, Server};

/// Serves until told to stop, by signals or over `control`, and returns when no process is left. `announce` is
/// called once, when the front accepts connections and the first child takes requests.
///
/// In the forked processes, this function does not return.
pub fn run(
    settings: &Settings,
    listeners: Vec<Listener>,
    exchange: &Exchange,
    control: Option<control::Control>,
    announce: &dyn Fn(&Serving),
    roles: &dyn Roles,
) -> ExitReason {
    let supervisor = getpid();
    let application = &settings.title;
    let identity = settings.identity.as_ref();
    // A fork copies only one thread, and PDEATHSIG refers to the thread that forked: so the process must have one
    // thread.
    if let Some(threads @ 2..) = threads() {
        warn!(threads, "the supervisor should have one thread");
    }
    sys::title::set(
        &format!("rwsgi: supervisor ({application})"),
        "rwsgi:supervisr",
    );
    let end = match Server::begin(settings, listeners, exchange, control, announce, roles) {
        Ok(server) => server.run(),
        Err(errno) => {
            error!(%errno, "cannot start");
            End::Stopped(ExitReason::CannotStart)
        }
    };
    // In a forked process, too, the server has been dropped here, with all descriptors of the supervisor.
    match end {
        End::Stopped(verdict) => verdict,
        End::Became(Newborn::Front {
            link,
            listeners,
            children,
        }) => {
            let title = format!("rwsgi: front ({application})");
            spawn::be(supervisor, identity, &title, "rwsgi:front", || {
                sink::set_hurried(true);
                signals::write_in_background();
                roles.front(link, listeners, &children)
            })
        }
        End::Became(Newborn::Mold(MoldNewborn { link, birth })) => {
            let generation = birth.generation;
            let title = format!("rwsgi: mold gen {generation} ({application})");
            spawn::be(
                supervisor,
                identity,
                &title,
                &format!("rwsgi:mold{generation}"),
                || {
                    sink::set_hurried(false);
                    exchange.leave_front();
                    roles.mold(MoldLink::new(link, supervisor, application), birth)
                },
            )
        }
    }
}
