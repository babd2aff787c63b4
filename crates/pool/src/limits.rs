//! The bounds that the operator has set.

use std::time::Duration;

use crate::Elastic;

/// The bounds that the operator has set.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many children there should be.
    pub pool: Pool,
    /// When a child is replaced.
    pub recycling: Recycling,
    /// How long a mold or a child may take until it is ready.
    pub startup_timeout: Duration,
    /// How long a child that has been told to leave may take until it has ended.
    pub shutdown_timeout: Duration,
}

/// How many children there should be.
#[derive(Clone, Copy, Debug)]
pub enum Pool {
    /// Always the same number.
    Fixed {
        /// Children to keep.
        processes: u16,
    },
    /// As many as Apache's prefork or worker would have, pass for pass, once a second.
    Apache(Elastic),
    /// As many as are needed, without Apache's snowball.
    Safe(Safe),
}

/// The bounds of an elastic pool that cannot snowball.
#[derive(Clone, Copy, Debug)]
pub struct Safe {
    /// When to grow and to shrink, and how far.
    pub elastic: Elastic,
    /// Cores that the children may use. A starting child takes one, so no more children start at the same time. Once
    /// `StartServers` children are there, only as many start as [`crate::Observed::computing`] leaves cores, but always half
    /// of the cores, and at least one.
    pub cores: u16,
    /// Bytes that the server may use; `None` for no budget. The pool grows up to the number of children that fit in, and
    /// retires idle ones above it. One child is always started, and no other before [`crate::Observed::weight`] is known.
    pub memory_budget: Option<u64>,
}

/// When a child is replaced. Zero means never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recycling {
    /// `MaxRequestsPerChild`: after so many requests.
    pub max_requests: u64,
    /// After so long.
    pub restart_interval: Duration,
    /// When it has had no request for so long. A child that has never had one is not replaced, as nothing has grown in it.
    pub inactivity_timeout: Duration,
    /// When its private memory has more bytes than this.
    pub max_memory: u64,
}
