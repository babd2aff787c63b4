//! The exchange: one shared mapping between the front and the children. It is the dispatch queue and the scoreboard, and
//! it shows what the threads of a process were doing when that process was killed.
//!
//! A request's way through it:
//! 1. the front writes the request into a free slot and [offers](Dispatcher::offer) it: the slot's state is *queued*;
//! 2. any idle thread [takes](Worker::take) it with one compare-and-swap that writes child and thread into the state;
//! 3. the thread writes the answer into its own ring, frame by frame ([`Reply`]);
//! 4. the front [reads](Dispatcher::pump) the frames and, after the last, frees the slot.
//!
//! What holds whichever process is killed at whatever instruction:
//! - only the front allocates and frees slots and blocks; a child writes only its claim into a slot's state;
//! - a request is claimed at most once: by the compare-and-swap; its answer counts as far as complete frames go;
//! - no thread stays parked while a request waits (`parker`): by the order of publishing and looking, not by a timer. A
//!   wake-up can only be lost when the process that sends or receives it is killed meanwhile; then all threads are woken
//!   when the front learns of the death ([`Dispatcher::gone`]), or by the next front;
//! - every length and index that another process wrote is checked before use.

#![cfg_attr(
    loom,
    allow(
        dead_code,
        private_interfaces,
        reason = "the model does not use all of the crate, and brings its own atomics"
    )
)]

mod checked_fd;
pub mod codec;
mod concurrency_limit;
mod dispatcher;
#[cfg_attr(loom, path = "model/doorbell.rs")]
mod doorbell;
mod exchange;
mod fd_channel;
mod governor;
mod ids;
#[cfg_attr(loom, path = "model/memory.rs")]
mod layout;
mod load;
pub mod notice;
#[cfg_attr(loom, path = "model/original.rs")]
mod original;
mod parker;
mod places;
mod queue;
mod reply;
mod ring;
mod scoreboard;
mod slot_state;
mod store;
mod sync;
pub mod syntax;
mod worker;

#[cfg(loom)]
#[cfg(test)]
mod model;
#[cfg(not(loom))]
#[cfg(test)]
mod tests;

pub use codec::{Body, Head, HeaderWriter, Headers, Lines, Malformed, Request, Version};
pub use ids::{ChildId, Owner, RequestId};
pub use reply::{After, Extent, Gone, Reply};

pub use {
    dispatcher::{Dispatcher, Full, Part, Refused, Sink, Wish},
    exchange::Exchange,
    fd_channel::WantedBody,
    governor::{Activity, Governor},
    load::Load,
    original::Original,
    places::{ChildPlace, ChildState, Geometry},
    ring::MAX_HEAD,
    scoreboard::{InFlight, Scoreboard},
    store::MAX_REQUEST,
    worker::{Answer, Claim, Taken, Worker, wake_child},
};
