//! The exchange: one shared mapping between the front and the children, which is dispatch queue, scoreboard and
//! black box in one. Whoever is killed, what its threads were doing can be read from outside.
//!
//! A request's way through it:
//! 1. the front writes the request into a free slot and [offers](Dispatcher::offer) it: the slot's word says *queued*;
//! 2. any idle thread [takes](Worker::take) it with one compare-and-swap that writes its own name into the word;
//! 3. the thread writes the answer into its own ring, frame by frame ([`Reply`]);
//! 4. the front [reads](Dispatcher::pump) the frames and, after the last, frees the slot.
//!
//! What holds whatever dies and whenever:
//! - only the front allocates and frees slots and blocks; a child owns nothing but the name in a word;
//! - a request is claimed at most once: by the compare-and-swap; its answer counts as far as complete frames go;
//! - nobody sleeps while there is work (`parker`): by the order of publishing and looking, not by a timer. A wake-up
//!   can only be lost with a process that is killed while it is given or taken, and the supervisor's word of that death,
//!   or the next front, wakes everybody;
//! - every length and index that another process wrote is checked before use.

#![cfg_attr(
    loom,
    allow(
        dead_code,
        private_interfaces,
        reason = "the model checks the protocols, and not what is around them; its atomics are its own"
    )
)]

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
mod own;
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
    governor::{Governor, Look},
    load::Load,
    original::Original,
    places::{ChildPlace, ChildState, Geometry},
    ring::MAX_HEAD,
    scoreboard::{InFlight, Scoreboard},
    store::MAX_REQUEST,
    worker::{Answer, Claim, Taken, Worker, wake_child},
};
