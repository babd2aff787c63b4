//! The requests of a site, from the offer to the end of the response.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use exchange::notice::FromFront;
use exchange::{ChildId, Dispatcher, Exchange, Extent, Full, Request, RequestId, Scoreboard};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, warn};

use super::buffer::{Buffer, End};
use super::waiting::{Supervisor, Waiter, Waiting};
use crate::context::Context;
use crate::disk::{Disk, DiskFile};
use crate::http::{Next, Parts};

/// Offered requests after which children are woken although the front is busy.
const MOST_UNANNOUNCED: u32 = 32;
/// How long a busy front leaves responses unread and offered requests unannounced; checked only when it offers
/// requests.
const LONGEST_TURN: Duration = Duration::from_micros(500);
/// Number of offered requests between checks of the time.
const TIME_CHECK_INTERVAL: u32 = 4;
/// Steps of connections after which responses are read and children woken, even if the runtime never sleeps.
const MOST_STEPS: u32 = 64;
/// How often responses are read before a sleep when each time another one has arrived. Then connections go on, even
/// if threads respond without a pause.
const MOST_TURNS: u32 = 4;
/// Buffers kept for reuse.
const MOST_SPARE: usize = 64;

/// The exchange of a site, as the front uses it.
pub(crate) struct Upstream {
    pub(super) exchange: Arc<Exchange>,
    pub(super) context: Rc<Context>,
    supervisor: Rc<dyn Supervisor>,
    state: RefCell<State>,
    /// Steps of connections since responses were last read and children last woken.
    steps: Cell<u32>,
    /// Notifies the task that writes the overflow into files, which also wakes the runtime.
    pub(super) overflow: Rc<Notify>,
    /// Notifies the task that watches the timeouts of requests.
    pub(super) has_requests: Notify,
    pub(super) is_watched: Cell<bool>,
}

struct State {
    dispatcher: Dispatcher,
    waiting: Waiting,
    /// The count of repairs of the queue at the last report.
    reported_repairs: u64,
    /// Unused buffers.
    spare: Vec<Rc<RefCell<Buffer>>>,
    /// A buffer for encoding requests, reused.
    scratch: Vec<u8>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").finish_non_exhaustive()
    }
}

impl Upstream {
    /// Takes over the exchange.
    pub(super) fn new(
        exchange: Arc<Exchange>,
        context: Rc<Context>,
        supervisor: Rc<dyn Supervisor>,
    ) -> Self {
        let overflow = Rc::new(Notify::new());
        Self {
            state: RefCell::new(State {
                dispatcher: Dispatcher::open(Arc::clone(&exchange)),
                waiting: Waiting::new(
                    Rc::clone(&context),
                    Rc::clone(&supervisor),
                    Rc::clone(&overflow),
                ),
                reported_repairs: 0,
                spare: Vec::new(),
                scratch: Vec::new(),
            }),
            exchange,
            context,
            supervisor,
            steps: Cell::new(0),
            overflow,
            has_requests: Notify::new(),
            is_watched: Cell::new(false),
        }
    }

    /// Offers a request to the children. To be followed by [`Self::offered`].
    ///
    /// # Errors
    /// [`Full`] when there is no room.
    pub(crate) fn offer(self: &Rc<Self>, request: &Request<'_>) -> Result<Pending, Full> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.scratch.clear();
        let body = request.encode_head(&mut state.scratch);
        let offered = match state.dispatcher.offer_pieces([&state.scratch, body]) {
            // Idle threads may not have been woken yet, and finished responses may be unread.
            Err(Full::Queue | Full::Memory) => {
                self.turn(state);
                state.dispatcher.offer_pieces([&state.scratch, body])
            }
            offered => offered,
        };
        let request_id = offered?;
        if !self.is_watched.replace(true) {
            self.has_requests.notify_one();
        }
        let buffer = state.spare.pop().unwrap_or_else(|| {
            let share = self.context.memory.share();
            Rc::new(RefCell::new(Buffer::new(share)))
        });
        let waiter = Waiter::new(request_id, Rc::clone(&buffer), self.context.clock.now());
        state.waiting.enter(request_id, waiter);
        Ok(Pending {
            upstream: Rc::clone(self),
            request_id,
            buffer,
        })
    }

    /// After a request has been offered and registered: wakes children and reads responses, if it is time to.
    pub(crate) fn offered(&self) {
        let mut state = self.state.borrow_mut();
        let unannounced = state.dispatcher.unannounced();
        if unannounced >= MOST_UNANNOUNCED
            || (unannounced.is_multiple_of(TIME_CHECK_INTERVAL)
                && self.context.clock.now().elapsed() > LONGEST_TURN)
        {
            self.turn(&mut state);
        }
    }

    /// The writer of temporary files.
    pub(crate) fn disk(&self) -> &Disk {
        &self.context.disk
    }

    /// The scoreboard.
    pub(crate) fn scoreboard(&self) -> Scoreboard<'_> {
        self.exchange.scoreboard()
    }

    /// Notes the process of a child, before the child takes requests.
    pub(crate) fn born(&self, child: ChildId, process: u32) {
        self.state.borrow_mut().dispatcher.born(child, process);
    }

    /// Takes back the requests of a dead child.
    pub(crate) fn gone(&self, child: ChildId) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.dispatcher.gone(child, &mut state.waiting);
    }

    /// To be called just before the runtime sleeps: reads responses, wakes children for all requests of this turn
    /// together, and marks the front as sleeping, so that children wake it from now on.
    pub(crate) fn before_park(&self) {
        let mut state = self.state.borrow_mut();
        for _ in 0..MOST_TURNS {
            self.turn(&mut state);
            if state.dispatcher.prepare_park() {
                return;
            }
        }
        // With a task that is ready, the runtime does not sleep.
        self.overflow.notify_one();
    }

    /// To be called when the runtime wakes.
    pub(crate) fn after_unpark(&self) {
        self.state.borrow_mut().dispatcher.cancel_park();
    }

    /// Counts a step of a connection: a runtime that always has a task to run never sleeps.
    pub(crate) fn step(&self) {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() >= MOST_STEPS {
            self.turn(&mut self.state.borrow_mut());
        }
    }

    /// Reads responses, and wakes children for offered requests.
    fn turn(&self, state: &mut State) {
        for child in state.dispatcher.pump(&mut state.waiting) {
            error!(
                child = child.slot,
                "wrote what no child writes into the exchange"
            );
            self.supervisor.tell(FromFront::Corrupt(child));
        }
        let queue_repairs = state.dispatcher.queue_repairs();
        // Reported the first time and at each doubling. Which child caused it is unknown.
        if queue_repairs >= 2 * state.reported_repairs.max(1)
            || (queue_repairs, state.reported_repairs) == (1, 0)
        {
            state.reported_repairs = queue_repairs;
            warn!(
                times = queue_repairs,
                "a child has overwritten the queue of requests, which is put right"
            );
        }
        state.dispatcher.announce();
        self.context.clock.advance();
        self.steps.set(0);
    }

    /// Checks the exchange for what a corrupt child may have overwritten.
    pub(super) fn recheck(&self) {
        let mut state = self.state.borrow_mut();
        state.dispatcher.recheck();
        self.turn(&mut state);
    }

    /// Withdraws requests that have waited too long for a thread; returns when the next one will have.
    pub(super) fn expire(&self) -> Option<Instant> {
        let mut state = self.state.borrow_mut();
        let State {
            dispatcher,
            waiting,
            ..
        } = &mut *state;
        let timeout = self.context.settings.queue_timeout;
        let now = Instant::now();
        let mut next = None;
        for request_id in waiting.overdue(now, timeout, &mut next) {
            if dispatcher.withdraw(request_id) {
                waiting.end(request_id, End::QueuedTooLong);
            }
        }
        next
    }

    /// Handles the messages on the descriptor channel; `Ok` when there may be more.
    pub(super) fn read_fd_channel(&self) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.dispatcher.read_fd_channel(&mut state.waiting)
    }

    /// The buffers that have something to be written into a file.
    pub(super) fn overflowing(&self) -> Vec<Rc<RefCell<Buffer>>> {
        std::mem::take(&mut self.state.borrow_mut().waiting.overflowing)
    }

    /// Writes the overflow of a response into a file until there is none.
    pub(super) async fn write(&self, buffer: &RefCell<Buffer>) {
        loop {
            let Some(write) = buffer.borrow_mut().write() else {
                return;
            };
            let disk = &self.context.disk;
            let (bytes, written) = disk.write(write.file, write.at, write.bytes).await;
            if let Err(error) = &written {
                warn!(%error, folder = %disk.folder().display(), "cannot put the rest of a response aside: its thread waits for its client");
            }
            let mut locked = buffer.borrow_mut();
            locked.written(bytes, written.ok());
            let waker = locked.waker.take();
            drop(locked);
            if let Some(waker) = waker {
                waker.wake();
            }
            // Threads may be waiting for the room.
            self.turn(&mut self.state.borrow_mut());
        }
    }

    /// Whether there are unfinished requests.
    pub(super) fn is_busy(&self) -> bool {
        self.state.borrow().dispatcher.has_requests()
    }
}

/// A request that has been offered. If it is dropped before its end, the request is cancelled.
pub(crate) struct Pending {
    upstream: Rc<Upstream>,
    request_id: RequestId,
    buffer: Rc<RefCell<Buffer>>,
}

impl Pending {
    /// Keeps the file of the body for the thread that will ask for it.
    pub(crate) fn keep(&self, file: Arc<DiskFile>) {
        let mut state = self.upstream.state.borrow_mut();
        if let Some(waiter) = state.waiting.get(self.request_id) {
            waiter.body = Some(file);
        }
    }

    /// Whether the request ended because no thread took it in time.
    pub(crate) fn has_waited_too_long(&self) -> bool {
        self.buffer.borrow().end == Some(End::QueuedTooLong)
    }
}

impl Parts for Pending {
    fn extent(&mut self) -> Option<Extent> {
        self.buffer.borrow_mut().extent.take()
    }

    fn poll_next(&mut self, context: &mut TaskContext<'_>) -> Poll<Next> {
        let mut buffer = self.buffer.borrow_mut();
        let has_backlog = self.upstream.context.has_backlog();
        let had_enough = buffer.must_wait(has_backlog);
        if let Some(next) = buffer.next() {
            if had_enough && !buffer.must_wait(has_backlog) {
                drop(buffer);
                let upstream = &self.upstream;
                upstream.turn(&mut upstream.state.borrow_mut());
            }
            return Poll::Ready(next);
        }
        let waker = context.waker();
        let is_known = |known: &Waker| known.will_wake(waker);
        if !buffer.waker.as_ref().is_some_and(is_known) {
            buffer.waker = Some(waker.clone());
            if has_backlog {
                // The application's thread may be waiting for the room.
                drop(buffer);
                let upstream = &self.upstream;
                upstream.turn(&mut upstream.state.borrow_mut());
            }
        }
        Poll::Pending
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut state = self.upstream.state.borrow_mut();
        if self.buffer.borrow().end.is_none() {
            state.dispatcher.give_up(self.request_id);
            state.waiting.leave(self.request_id);
        }
        if Rc::strong_count(&self.buffer) == 1 && state.spare.len() < MOST_SPARE {
            self.buffer.borrow_mut().empty();
            state.spare.push(Rc::clone(&self.buffer));
        }
        if self.upstream.context.has_backlog() {
            // Threads may be waiting for the room that it held.
            self.upstream.turn(&mut state);
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
