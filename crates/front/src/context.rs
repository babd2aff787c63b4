//! What all connections share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::{Notify, watch};

use crate::access_log::Log;
use crate::config::{Settings, Untaken};
use crate::disk::{self, Disk};
use crate::http::Date;
use crate::http::parse::Limits;
use crate::memory::Memory;
use crate::timing::Clock;

/// Memory for messages that is kept for the next one.
const KEPT: usize = 64 * 1024;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    /// How it is found out whether a client takes its answer.
    pub(crate) untaken: Untaken,
    /// What bounds the heads of requests.
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) date: Date,
    pub(crate) disk: Disk,
    pub(crate) memory: Rc<Memory>,
    pub(crate) log: Option<Log>,
    /// Becomes true when no further request is wanted.
    pub(crate) draining: watch::Receiver<bool>,
    /// Each response is the last of its connection, also while further connections are wanted.
    pub(crate) closing: Cell<bool>,
    /// Notified when a connection has ended.
    pub(crate) ended: Notify,
    /// Memory for messages, used again and again.
    scratch: RefCell<Vec<u8>>,
}

impl Context {
    pub(crate) fn new(
        settings: Settings,
        untaken: Untaken,
        log: Option<Log>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            limits: limits(&settings),
            disk: Disk::new(settings.buffer_dir.clone(), settings.buffer_disk),
            memory: Memory::new(settings.buffer_memory),
            settings,
            untaken,
            clock: Clock::new(),
            date: Date::default(),
            log,
            draining,
            closing: Cell::new(false),
            ended: Notify::new(),
            scratch: RefCell::default(),
        }
    }

    /// Whether no further request is wanted.
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Whether more waits to be written into files than should: the disk is slow, or one turn has brought more than there is
    /// memory for, which the tasks that write have not been told of yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.disk.is_behind() || self.memory.excess() >= disk::BEHIND
    }

    /// Whether so much is held for which there is no memory that nothing more is to come, also of responses that have ended
    /// and keep their thread from answering its next request.
    pub(crate) fn is_full(&self) -> bool {
        self.memory.excess() >= 2 * disk::BEHIND
    }

    /// Empty memory for a message.
    pub(crate) fn take_scratch(&self) -> Vec<u8> {
        self.scratch.take()
    }

    /// Keeps the memory, unless it is much.
    pub(crate) fn give_scratch(&self, mut scratch: Vec<u8>) {
        if scratch.capacity() <= KEPT {
            scratch.clear();
            self.scratch.replace(scratch);
        }
    }
}

fn limits(settings: &Settings) -> Limits {
    let fields = settings
        .limit_request_fields
        .saturating_mul(settings.limit_request_field_size);
    Limits {
        line: settings.limit_request_line,
        fields: settings.limit_request_fields,
        field: settings.limit_request_field_size,
        head: settings
            .limit_request_line
            .saturating_add(fields)
            .min(exchange::MAX_REQUEST),
    }
}
