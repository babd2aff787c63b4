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

/// Bytes of the scratch buffer that are kept for the next message.
const KEPT: usize = 64 * 1024;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    /// Returns the bytes that a client has not read.
    pub(crate) untaken: Untaken,
    /// The limits for request heads.
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) date: Date,
    pub(crate) disk: Disk,
    pub(crate) memory: Rc<Memory>,
    pub(crate) log: Option<Log>,
    /// True once no further requests are accepted.
    pub(crate) draining: watch::Receiver<bool>,
    /// Each response is the last one of its connection, although new connections are still accepted.
    pub(crate) closing: Cell<bool>,
    /// Notified when a connection ends.
    pub(crate) ended: Notify,
    /// A buffer for messages, reused.
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

    /// Whether no further requests are accepted.
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Whether too many bytes wait to be written into files: the disk is slow, or one turn of the runtime has
    /// brought more than fits in memory and the writing tasks have not run since.
    pub(crate) fn has_backlog(&self) -> bool {
        self.disk.has_backlog() || self.memory.excess() >= disk::MOST_UNWRITTEN
    }

    /// Whether so many bytes exceed the memory budget that nothing more may be read. Threads of responses that have
    /// ended are also kept from their next request then.
    pub(crate) fn is_full(&self) -> bool {
        self.memory.excess() >= 2 * disk::MOST_UNWRITTEN
    }

    /// Takes the scratch buffer, empty.
    pub(crate) fn take_scratch(&self) -> Vec<u8> {
        self.scratch.take()
    }

    /// Puts the scratch buffer back, unless it has grown too large.
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
