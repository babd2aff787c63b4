//! Where requests are handed over to the exchange and answers are called out.
//!
//! The state is the thread's own: tokio's hooks around sleeping, which read answers and wake children in one go, have
//! no other way to it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use exchange::notice::FromFront;
use exchange::{
    After, Asked, Board, ChildId, Dispatcher, Exchange, Extent, Full, Part, Refused, Request, Sink,
    Ticket, Wish,
};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;
use tracing::{debug, error, warn};

use crate::clock;
use crate::link::Link;

/// Bytes of one answer that are kept for a slow reader before the application's thread has to wait.
const BUFFER: usize = 1024 * 1024;
/// Offered requests after which children are woken even while the front has more to do.
const MOST_UNANNOUNCED: u32 = 32;
/// How long a front that has more to do leaves answers unread and requests unannounced, as far as it offers requests.
const LONGEST_TURN: Duration = Duration::from_micros(500);
/// Offered requests after which the time is looked at.
const LOOKS_AT_TIME: u32 = 4;
/// How often connections may go on before answers are read and children woken, even if the runtime never sleeps.
const MOST_STEPS: u32 = 64;

const OPENED: &str = "the counter is opened before the first connection";

/// How long a request can wait for a wake-up that a child which was taken over has overwritten.
const LOOK_OVER: Duration = Duration::from_secs(1);

/// Inboxes that are kept for later requests.
const MOST_SPARE: usize = 64;

thread_local! {
    static COUNTER: RefCell<Option<Counter>> = const { RefCell::new(None) };
}

struct Counter {
    dispatcher: Dispatcher,
    waiting: Waiting,
    link: Rc<Link>,
    /// Wakes the task that looks the exchange over while there are requests.
    has_requests: Rc<Notify>,
    is_looked_over: bool,
    /// How often the queue had been put right when that was last told.
    mended_told: u64,
    /// Steps of connections since answers were last read and children last woken.
    steps: u32,
    /// Inboxes that nobody uses.
    spare: Vec<Rc<RefCell<Inbox>>>,
    /// Memory for encoding requests, used again and again.
    scratch: Vec<u8>,
}

/// Who waits for which slot's answer.
struct Waiting {
    waiters: Vec<Option<Waiter>>,
    exchange: Arc<Exchange>,
    link: Rc<Link>,
    /// Notes that were refused.
    refused: u64,
}

struct Waiter {
    seq: u32,
    answer: Rc<RefCell<Inbox>>,
    /// The file that holds the request's body, until a thread asks for it.
    body: Option<File>,
}

/// What has come of an answer.
#[derive(Debug, Default)]
struct Inbox {
    parts: VecDeque<Part>,
    bytes: usize,
    end: Option<End>,
    /// What the answer goes on with when its last part says so.
    extent: Option<Extent>,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The last part is in the inbox, or was.
    Said,
    /// The child died.
    Lost,
}

/// A request that has been offered. Dropped before its end, it is given up.
#[derive(Debug)]
pub(crate) struct Awaited {
    ticket: Ticket,
    inbox: Rc<RefCell<Inbox>>,
}

/// What comes next of an answer.
#[derive(Debug)]
pub(crate) enum Next {
    /// A part of it.
    Part(Part),
    /// Nothing more: the child has died.
    Lost,
}

/// Opens the counter on this thread. `children` are those that take requests already, with the numbers of their processes.
pub(crate) fn open(
    exchange: Arc<Exchange>,
    link: Rc<Link>,
    children: &[(ChildId, u32)],
) -> io::Result<()> {
    let doorbell = Receiver::from_owned_fd(exchange.doorbell()?)?;
    let desk = UnixStream::from_std(StdStream::from(exchange.desk()?))?;
    tokio::task::spawn_local(answer_the_door(doorbell));
    tokio::task::spawn_local(serve_the_desk(desk));
    let has_requests = Rc::new(Notify::new());
    tokio::task::spawn_local(look_over(Rc::clone(&has_requests)));
    let mut dispatcher = Dispatcher::open(Arc::clone(&exchange));
    for (child, process) in children {
        dispatcher.born(*child, *process);
    }
    COUNTER.set(Some(Counter {
        dispatcher,
        waiting: Waiting {
            waiters: Vec::new(),
            exchange,
            link: Rc::clone(&link),
            refused: 0,
        },
        link,
        has_requests,
        is_looked_over: false,
        mended_told: 0,
        steps: 0,
        spare: Vec::new(),
        scratch: Vec::new(),
    }));
    Ok(())
}

/// Runs just before the runtime sleeps: answers are read, children are woken for all requests of this turn together,
/// and the children hear that they must ring from now on.
pub(crate) fn before_sleep() {
    with(|counter| {
        loop {
            counter.turn();
            if counter.dispatcher.lie_down() {
                break;
            }
        }
    });
}

/// Counts a step of a connection: a runtime that always has one more to make never sleeps.
pub(crate) fn step() {
    with(|counter| {
        counter.steps += 1;
        if counter.steps >= MOST_STEPS {
            counter.turn();
        }
    });
}

/// Runs when the runtime goes on.
pub(crate) fn after_sleep() {
    clock::advance();
    with(|counter| counter.dispatcher.get_up());
}

/// Offers a request to the children. To be followed by [`offered`].
///
/// # Errors
/// [`Full`] when there is no room.
pub(crate) fn offer(request: &Request<'_>) -> Result<Awaited, Full> {
    COUNTER.with_borrow_mut(|counter| {
        let counter = counter.as_mut().expect(OPENED);
        counter.scratch.clear();
        let body = request.encode_head(&mut counter.scratch);
        let offered = match counter.dispatcher.offer_pieces([&counter.scratch, body]) {
            // Threads may be idle that have not heard of what waits, and answers unread that have ended.
            Err(Full::Queue | Full::Memory) => {
                counter.turn();
                counter.dispatcher.offer_pieces([&counter.scratch, body])
            }
            offered => offered,
        };
        let ticket = offered?;
        if !std::mem::replace(&mut counter.is_looked_over, true) {
            counter.has_requests.notify_one();
        }
        let inbox = counter.spare.pop().unwrap_or_default();
        counter.waiting.enter(
            ticket,
            Waiter {
                seq: ticket.seq,
                answer: Rc::clone(&inbox),
                body: None,
            },
        );
        Ok(Awaited { ticket, inbox })
    })
}

/// Wakes children and reads answers when it is time for that, after a request has been offered and all that belongs to it is
/// here.
pub(crate) fn offered() {
    with(|counter| {
        let unannounced = counter.dispatcher.unannounced();
        if unannounced >= MOST_UNANNOUNCED
            || (unannounced.is_multiple_of(LOOKS_AT_TIME) && clock::now().elapsed() > LONGEST_TURN)
        {
            counter.turn();
        }
    });
}

/// Looks at the scoreboard.
pub(crate) fn with_board<T>(look: impl FnOnce(Board<'_>) -> T) -> T {
    COUNTER.with_borrow(|counter| look(counter.as_ref().expect(OPENED).waiting.exchange.board()))
}

/// Notes which process a child is, before it takes requests.
pub(crate) fn born(child: ChildId, process: u32) {
    with(|counter| counter.dispatcher.born(child, process));
}

/// Takes back what a dead child held.
pub(crate) fn gone(child: ChildId) {
    with(|counter| counter.dispatcher.gone(child, &mut counter.waiting));
}

/// Tells the supervisor.
pub(crate) fn tell(message: FromFront) {
    with(|counter| counter.link.tell(message));
}

impl Awaited {
    /// Keeps the file of the body for the thread that will ask for it.
    pub(crate) fn keep(&self, file: File) {
        with(|counter| {
            if let Some(waiter) = counter.waiting.get(self.ticket) {
                waiter.body = Some(file);
            }
        });
    }

    /// Takes the request back, unless a thread has taken it. Nothing of an answer comes then.
    pub(crate) fn withdraw(&self) -> bool {
        let mut withdrawn = false;
        with(|counter| {
            withdrawn = counter.dispatcher.withdraw(self.ticket);
            if withdrawn {
                counter.waiting.leave(self.ticket);
            }
        });
        if withdrawn {
            self.inbox.borrow_mut().end = Some(End::Lost);
        }
        withdrawn
    }

    /// The part of a file with which the answer goes on, when its last part has said so.
    pub(crate) fn extent(&self) -> Option<Extent> {
        self.inbox.borrow_mut().extent.take()
    }

    /// The next part of the answer.
    pub(crate) fn poll_next(&self, waker: &Waker) -> Poll<Next> {
        let mut inbox = self.inbox.borrow_mut();
        if let Some(part) = inbox.parts.pop_front() {
            let was_full = inbox.bytes >= BUFFER;
            inbox.bytes -= part.bytes.len();
            if was_full && inbox.bytes < BUFFER {
                drop(inbox);
                with(Counter::turn);
            }
            return Poll::Ready(Next::Part(part));
        }
        if inbox.end == Some(End::Lost) {
            return Poll::Ready(Next::Lost);
        }
        if !inbox
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            inbox.waker = Some(waker.clone());
        }
        Poll::Pending
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        with(|counter| {
            if self.inbox.borrow().end.is_none() {
                counter.dispatcher.give_up(self.ticket);
                counter.waiting.leave(self.ticket);
            }
            if Rc::strong_count(&self.inbox) == 1 && counter.spare.len() < MOST_SPARE {
                self.inbox.borrow_mut().empty();
                counter.spare.push(Rc::clone(&self.inbox));
            }
        });
    }
}

impl Inbox {
    /// Forgets the answer, keeps the memory.
    fn empty(&mut self) {
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        *self = Self {
            parts,
            ..Self::default()
        };
    }
}

impl Counter {
    /// Reads what has been answered, and wakes children for what has been offered.
    fn turn(&mut self) {
        for child in self.dispatcher.pump(&mut self.waiting) {
            error!(
                child = child.slot,
                "wrote what no child writes into the exchange"
            );
            self.link.tell(FromFront::Corrupt(child));
        }
        let mended = self.dispatcher.mended();
        // Told the first time and whenever that has happened twice as often: which child it was, nothing tells.
        if mended >= 2 * self.mended_told.max(1) || (mended, self.mended_told) == (1, 0) {
            self.mended_told = mended;
            warn!(
                times = mended,
                "a child has overwritten the queue of requests, which is put right"
            );
        }
        self.dispatcher.announce();
        clock::advance();
        self.steps = 0;
    }
}

impl Waiting {
    fn enter(&mut self, ticket: Ticket, waiter: Waiter) {
        let slot = ticket.slot as usize;
        if self.waiters.len() <= slot {
            self.waiters.resize_with(slot + 1, || None);
        }
        self.waiters[slot] = Some(waiter);
    }

    fn get(&mut self, ticket: Ticket) -> Option<&mut Waiter> {
        let waiter = self.waiters.get_mut(ticket.slot as usize)?.as_mut()?;
        (waiter.seq == ticket.seq).then_some(waiter)
    }

    fn leave(&mut self, ticket: Ticket) {
        if self.get(ticket).is_some() {
            self.waiters[ticket.slot as usize] = None;
        }
    }

    fn deliver(&mut self, ticket: Ticket, part: Option<Part>) {
        let Some(waiter) = self.get(ticket) else {
            return;
        };
        let mut inbox = waiter.answer.borrow_mut();
        let end = match &part {
            None => Some(End::Lost),
            Some(part) => (part.after != After::More).then_some(End::Said),
        };
        if let Some(part) = part {
            inbox.bytes += part.bytes.len();
            inbox.parts.push_back(part);
        }
        inbox.end = end;
        let waker = inbox.waker.take();
        drop(inbox);
        if end.is_some() {
            self.leave(ticket);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Sink for Waiting {
    fn wish(&mut self, ticket: Ticket) -> Wish {
        match self.get(ticket) {
            Some(waiter) if waiter.answer.borrow().bytes >= BUFFER => Wish::Later,
            _ => Wish::More,
        }
    }

    fn part(&mut self, ticket: Ticket, part: Part) {
        self.deliver(ticket, Some(part));
    }

    fn lost(&mut self, ticket: Ticket) {
        self.deliver(ticket, None);
    }

    fn asked(&mut self, asked: Asked) {
        let file = self.get(asked.ticket).and_then(|waiter| waiter.body.take());
        // Without one, the thread hears that when `asked` is dropped.
        let Some(file) = file else { return };
        if let Err(error) = asked.give(file.as_fd()) {
            debug!(%error, "the thread that asked for a body is gone");
        }
    }

    fn given(&mut self, ticket: Ticket, extent: Extent) {
        // Of a request that nobody waits for, the file is closed again.
        if let Some(waiter) = self.get(ticket) {
            waiter.answer.borrow_mut().extent = Some(extent);
        }
    }

    fn births(&mut self) -> Vec<(ChildId, u32)> {
        self.link.births()
    }

    fn refused(&mut self, refused: Refused) {
        self.refused += 1;
        // The first, and whenever there have been twice as many.
        if self.refused.is_power_of_two() {
            let (child, pid, times) = (slot(refused.child), refused.process, self.refused);
            warn!(
                child,
                pid,
                owner = slot(refused.owner),
                times,
                "asked for the body of a request, or gave a file for the answer, that another process has: refused"
            );
        }
    }
}

fn slot(child: Option<ChildId>) -> Option<u16> {
    child.map(|child| child.slot)
}

fn with(act: impl FnOnce(&mut Counter)) {
    COUNTER.with_borrow_mut(|counter| {
        // There is none before the first connection, and hooks run before that.
        if let Some(counter) = counter {
            act(counter);
        }
    });
}

/// Children ring when the front sleeps; being woken is all that it is for, since answers are read before the next sleep.
async fn answer_the_door(mut doorbell: Receiver) {
    // A read that does not fill its buffer tells tokio that the pipe is empty; `try_read` would be called once more for that.
    while doorbell
        .read(&mut [0; 64])
        .await
        .is_ok_and(|rings| rings > 0)
    {}
}

/// Looks the exchange over every now and then, as long as there are requests.
async fn look_over(has_requests: Rc<Notify>) {
    loop {
        has_requests.notified().await;
        let mut goes_on = true;
        while goes_on {
            tokio::time::sleep(LOOK_OVER).await;
            with(|counter| {
                counter.dispatcher.look_over();
                counter.turn();
                goes_on = counter.dispatcher.has_requests();
                counter.is_looked_over = goes_on;
            });
        }
    }
}

/// Looks after the notes that threads leave: those that ask for a body wait for it.
async fn serve_the_desk(desk: UnixStream) {
    while desk.readable().await.is_ok() {
        let cleared = desk.try_io(Interest::READABLE, || {
            let mut cleared = Ok(());
            with(|counter| cleared = counter.dispatcher.clear_desk(&mut counter.waiting));
            cleared
        });
        match cleared {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => error!(%error, "a note of a thread cannot be read"),
            // Connections go on in between.
            Ok(()) => tokio::task::yield_now().await,
        }
    }
}
