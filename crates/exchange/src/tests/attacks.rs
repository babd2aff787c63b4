//! A child that overwrites the shared memory loses its own requests, and others are served.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::ids::Owner;
use crate::queue::Queue;
use crate::slot_state::SlotState;
use crate::sync::Ordering;

const VICTIM: ChildId = ChildId {
    slot: 1,
    incarnation: 1,
};

/// Two children of one thread each.
struct Site {
    exchange: Arc<Exchange>,
    dispatcher: Dispatcher,
    sink: Collected,
    victim: Worker,
}

impl Site {
    fn new() -> Self {
        let (exchange, dispatcher) = exchange(2, 1, 8);
        Self {
            victim: Worker::new(Arc::clone(&exchange), VICTIM, 0, Original::here()),
            dispatcher,
            exchange,
            sink: Collected::default(),
        }
    }

    fn offer(&mut self, path: &str) -> RequestId {
        self.dispatcher.offer(&request(path, b"")).unwrap()
    }

    /// The victim takes the next request and answers with its path.
    fn answer(&mut self) {
        let mut claim = self.victim.take(&AtomicBool::new(false)).unwrap();
        let (request, reply) = claim.split().unwrap();
        let path = request.path.to_vec();
        reply.send(Some(&HEAD), &path, After::Complete).unwrap();
    }

    fn pump(&mut self) -> Vec<ChildId> {
        self.dispatcher.pump(&mut self.sink)
    }

    /// Requests are answered in order.
    fn check_serves(&mut self) {
        for number in 0..3 {
            let path = format!("/{number}");
            let request_id = self.offer(&path);
            self.pump();
            self.answer();
            assert_eq!(self.pump(), []);
            assert_eq!(self.sink.answers[&request_id], path.as_bytes());
        }
        assert_eq!(self.dispatcher.waiting(), 0);
    }

    fn queue(&self) -> Queue<'_> {
        self.exchange.queue()
    }
}

#[test]
fn overwritten_positions_of_the_queue_are_repaired() {
    let wild = [0, 1, 3, 5, 6, 100, 1 << 40, u64::MAX - 1, u64::MAX];
    for (value, is_head) in wild
        .iter()
        .flat_map(|value| [(*value, true), (*value, false)])
    {
        let mut site = Site::new();
        site.check_serves();
        let waiting = ["/a", "/b"].map(|path| site.offer(path));
        let queue = site.queue();
        let position = if is_head { queue.head } else { queue.tail };
        position.store(value, Ordering::SeqCst);
        // Whatever the positions are, a thread that claims from the queue returns.
        let thief = Owner {
            child: CHILD,
            thread: 0,
        };
        let stolen: Vec<RequestId> = std::iter::from_fn(|| site.queue().claim(thief)).collect();
        for request_id in &stolen {
            site.exchange.mapping.states()[request_id.slot as usize]
                .write(SlotState::Queued(request_id.seq));
        }
        site.pump();
        for path in ["/a", "/b"] {
            site.answer();
            assert_eq!(site.pump(), [], "{value} {is_head}");
            assert_eq!(
                site.sink.answers[&waiting[usize::from(path == "/b")]],
                path.as_bytes()
            );
        }
        site.check_serves();
    }
}

#[test]
fn an_overwritten_entry_of_the_queue_is_entered_again() {
    for wrong in [0, u64::MAX, 1 << 32] {
        let mut site = Site::new();
        let waiting = site.offer("/a");
        let later = site.offer("/b");
        site.queue().entries[0].store(wrong, Ordering::SeqCst);
        site.answer();
        site.pump();
        assert_eq!(site.dispatcher.queue_repairs(), 1);
        site.answer();
        site.pump();
        assert_eq!(site.sink.answers[&waiting], b"/a");
        assert_eq!(site.sink.answers[&later], b"/b");
        site.check_serves();
        assert_eq!(
            site.dispatcher.queue_repairs(),
            1,
            "what is right is left alone"
        );
    }
}

#[test]
fn a_waiting_request_whose_state_is_overwritten_is_lost_and_its_slot_is_freed() {
    for state in [
        SlotState::Free(1),
        SlotState::Queued(7),
        SlotState::Claimed(
            Owner {
                child: ChildId {
                    slot: 9,
                    incarnation: 0,
                },
                thread: 0,
            },
            1,
        ),
    ] {
        let mut site = Site::new();
        let free = site.dispatcher.free_slots();
        let request_id = site.offer("/a");
        site.exchange.mapping.states()[request_id.slot as usize].write(state);
        site.pump();
        assert_eq!(site.sink.lost, [request_id]);
        assert_eq!(site.dispatcher.free_slots(), free);
        site.check_serves();
    }
}

#[test]
fn dirty_bits_of_threads_that_do_not_exist_are_ignored() {
    let mut site = Site::new();
    site.exchange.mapping.dirty()[0].store(u64::MAX, Ordering::SeqCst);
    assert_eq!(site.pump(), []);
    site.check_serves();
}

#[test]
fn overwritten_positions_of_rings_are_repaired() {
    for value in [1, 8, 1 << 20, 1 << 40, u64::MAX] {
        let mut site = Site::new();
        site.check_serves();
        let place = &site.exchange.mapping.threads()[1];
        place.read.store(value, Ordering::SeqCst);
        place.written.store(value, Ordering::SeqCst);
        site.exchange.mapping.dirty()[0].store(u64::MAX, Ordering::SeqCst);
        assert_eq!(site.pump(), []);
        site.check_serves();
    }
}

#[test]
fn positions_that_are_overwritten_before_a_child_starts_have_no_effect_on_it() {
    let (exchange, dispatcher) = exchange(2, 1, 8);
    exchange.mapping.threads()[1]
        .written
        .store(1 << 40, Ordering::SeqCst);
    let mut site = Site {
        victim: Worker::new(Arc::clone(&exchange), VICTIM, 0, Original::here()),
        dispatcher,
        exchange,
        sink: Collected::default(),
    };
    site.check_serves();
}

#[test]
fn a_thread_that_waits_for_room_goes_on_after_its_positions_were_overwritten() {
    let mut site = Site::new();
    let request_id = site.offer("/large");
    let exchange = Arc::clone(&site.exchange);
    let place = &exchange.mapping.threads()[1];
    let bytes = vec![7; 2_000_000];
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut claim = site.victim.take(&AtomicBool::new(false)).unwrap();
            send(&mut claim, &bytes, After::Complete).unwrap();
        });
        let mut attacks = 0;
        while site.sink.ended.is_empty() {
            if attacks < 3 && place.room.is_parked() {
                place.written.store(1 << 40, Ordering::SeqCst);
                place.read.store(1 << 50, Ordering::SeqCst);
                attacks += 1;
            }
            assert_eq!(site.dispatcher.pump(&mut site.sink), []);
            thread::yield_now();
        }
    });
    assert_eq!(site.sink.answers[&request_id], bytes);
}

#[test]
fn a_slot_that_is_free_cannot_be_freed() {
    let mut site = Site::new();
    let free = site.dispatcher.free_slots();
    let request_id = site.offer("/");
    site.answer();
    site.pump();
    let thief = Owner {
        child: CHILD,
        thread: 0,
    };
    site.exchange.mapping.states()[request_id.slot as usize]
        .write(SlotState::Claimed(thief, request_id.seq));
    write_frame(&site.exchange, request_id, b"", After::Complete);
    assert_eq!(site.pump(), [CHILD]);
    assert_eq!(site.dispatcher.free_slots(), free);
    site.dispatcher.gone(CHILD, &mut site.sink);
    site.check_serves();
}

#[test]
fn a_thread_whose_position_no_frames_explain_is_reported_as_corrupt() {
    let stop = AtomicBool::new(false);
    let mut site = Site::new();
    let mut worker = Worker::new(Arc::clone(&site.exchange), CHILD, 0, Original::here());
    let exchange = Arc::clone(&site.exchange);
    let request_id = site.offer("/");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut claim = worker.take(&stop).unwrap();
            // The application writes a frame of its own, which the worker does not count.
            write_frame(&exchange, request_id, &[0; 1000], After::More);
            while exchange.mapping.threads()[0].read.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            let _ = send(&mut claim, b"", After::Complete);
            drop(claim);
            worker.take(&stop);
        });
        let mut suspects = Vec::new();
        while suspects.is_empty() {
            suspects = site.pump();
            thread::yield_now();
        }
        assert_eq!(suspects, [CHILD]);
        site.dispatcher.gone(CHILD, &mut site.sink);
        stop.store(true, Ordering::Release);
        wake_child(&exchange, CHILD);
    });
    site.check_serves();
}

/// A frame in the ring of the first child's thread.
fn write_frame(exchange: &Exchange, request_id: RequestId, data: &[u8], after: After) {
    let frame = ring::Frame {
        request_id,
        head: 0,
        data: data.len(),
        after,
    };
    let place = &exchange.mapping.threads()[0];
    let written = place.written.load(Ordering::SeqCst);
    let size = ring::write(exchange.mapping.ring(0), written, frame, b"", data);
    place.written.store(written + size as u64, Ordering::SeqCst);
    exchange.mapping.dirty()[0].store(1, Ordering::SeqCst);
}

#[test]
fn a_frame_for_a_request_of_another_thread_is_refused() {
    let mut site = Site::new();
    let request_id = site.offer("/");
    let stop = AtomicBool::new(false);
    let mut claim = site.victim.take(&stop).unwrap();
    site.dispatcher.pump(&mut site.sink);
    // The state is overwritten after the front has noted which thread has taken the request.
    let thief = Owner {
        child: CHILD,
        thread: 0,
    };
    site.exchange.mapping.states()[request_id.slot as usize]
        .write(SlotState::Claimed(thief, request_id.seq));
    write_frame(&site.exchange, request_id, b"", After::Complete);
    assert_eq!(site.dispatcher.pump(&mut site.sink), [CHILD]);
    send(&mut claim, b"mine", After::Complete).unwrap();
    drop(claim);
    assert_eq!(site.dispatcher.pump(&mut site.sink), []);
    assert_eq!(site.sink.answers[&request_id], b"mine");
}

#[test]
fn a_child_that_claims_every_slot_is_listed_in_bounds_and_found_by_the_next_front() {
    let mut site = Site::new();
    let long = format!("/{}", "a".repeat(3_000));
    for _ in 0..8 {
        site.offer(&long);
    }
    let thief = Owner {
        child: CHILD,
        thread: 0,
    };
    for state in site.exchange.mapping.states() {
        state.write(SlotState::Claimed(thief, 1));
    }
    let listed = site.exchange.in_flight(CHILD);
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|request| request.path.len() == 512));

    let mut new = Dispatcher::open(Arc::clone(&site.exchange));
    let slots = site.exchange.mapping.states().len();
    assert_eq!(new.pump(&mut site.sink), [CHILD]);
    new.gone(CHILD, &mut site.sink);
    assert_eq!(new.free_slots(), slots);
    site.dispatcher = new;
    site.check_serves();
}

#[test]
fn a_child_with_unread_answers_is_not_taken_for_corrupt() {
    let mut site = Site::new();
    for _ in 0..5 {
        site.offer("/");
        site.answer();
    }
    let mut new = Dispatcher::open(Arc::clone(&site.exchange));
    assert_eq!(new.pump(&mut site.sink), []);
    assert_eq!(new.free_slots(), site.exchange.mapping.states().len());
}

#[test]
fn a_new_front_does_not_use_the_positions_of_the_former_queue() {
    for (head, tail) in [(1 << 40, 0), (0, 1 << 40), (u64::MAX, u64::MAX), (7, 3)] {
        let mut site = Site::new();
        site.offer("/dropped");
        let queue = site.queue();
        queue.head.store(head, Ordering::SeqCst);
        queue.tail.store(tail, Ordering::SeqCst);
        site.dispatcher = Dispatcher::open(Arc::clone(&site.exchange));
        site.check_serves();
    }
}

#[test]
fn the_memory_cannot_be_resized() {
    let (exchange, _dispatcher) = exchange(1, 1, 1);
    let is_open = || {
        let mut open = fs::read_dir("/proc/self/fd").unwrap();
        open.any(|entry| {
            let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
            target.to_string_lossy().contains("rwsgi-exchange")
        })
    };
    // Another test may just be making an exchange of its own.
    let deadline = Instant::now() + Duration::from_secs(30);
    while is_open() {
        assert!(Instant::now() < deadline, "the exchange is still open");
        thread::yield_now();
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let region = maps
        .lines()
        .find(|line| line.contains("rwsgi-exchange"))
        .and_then(|line| line.split(' ').next())
        .unwrap();
    // Only a process with CAP_CHECKPOINT_RESTORE may open it there.
    let Ok(memory) = fs::File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/self/map_files/{region}"))
    else {
        return;
    };
    for length in [0, 1 << 40] {
        let refused = memory.set_len(length).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    }
    drop(exchange);
}

/// Sends the message that gives a file, and on a thread the one that asks for a body.
fn messages(
    site: &Site,
    request_id: RequestId,
) -> thread::JoinHandle<std::io::Result<std::os::fd::OwnedFd>> {
    let extent = Extent {
        file: fs::File::open("/dev/null").unwrap().into(),
        offset: 0,
        length: 1,
    };
    site.exchange.fd_channel.give(request_id, &extent).unwrap();
    let exchange = Arc::clone(&site.exchange);
    thread::Builder::new()
        .spawn(move || exchange.fd_channel.fetch(request_id))
        .unwrap()
}

/// Reads the channel until both of `messages` have been read.
fn clear(site: &mut Site, read: impl Fn(&Collected) -> usize) {
    while read(&site.sink) < 2 {
        let _ = site.dispatcher.read_fd_channel(&mut site.sink);
        thread::yield_now();
    }
}

#[test]
fn a_message_about_a_request_of_another_child_is_dropped() {
    let own = std::process::id();
    for is_child in [true, false] {
        let mut site = Site::new();
        // All messages come from this process, which is now the other child or none at all.
        site.dispatcher.born(VICTIM, own + 1);
        if !is_child {
            site.dispatcher.born(CHILD, own + 2);
        }
        let waiting = site.offer("/waits");
        let thief = messages(&site, waiting);
        clear(&mut site, |sink| sink.refused.len());
        let problem = thief.join().unwrap().unwrap_err();
        assert_eq!(problem.kind(), std::io::ErrorKind::NotFound);

        let mut victim = Worker::new(Arc::clone(&site.exchange), VICTIM, 0, Original::here());
        let claim = victim.take(&AtomicBool::new(false)).unwrap();
        site.dispatcher.pump(&mut site.sink);
        let refused = std::mem::take(&mut site.sink.refused);
        let thief = messages(&site, waiting);
        clear(&mut site, |sink| sink.refused.len());
        thief.join().unwrap().unwrap_err();
        let expected = |owner| Refused {
            process: own,
            child: is_child.then_some(CHILD),
            owner,
        };
        assert_eq!(refused, [expected(None); 2]);
        assert_eq!(site.sink.refused, [expected(Some(VICTIM)); 2]);
        assert!(site.sink.asked.is_empty() && site.sink.given.is_empty());
        drop(claim);
    }
}

#[test]
fn a_message_of_a_former_incarnation_is_dropped() {
    let own = std::process::id();
    let mut site = Site::new();
    let next = ChildId {
        slot: 1,
        incarnation: 2,
    };
    site.dispatcher.gone(VICTIM, &mut site.sink);
    site.exchange.scoreboard().child(1).begin(2, 1);
    let mut worker = Worker::new(Arc::clone(&site.exchange), next, 0, Original::here());
    let request_id = site.offer("/");
    let claim = worker.take(&AtomicBool::new(false)).unwrap();
    site.dispatcher.pump(&mut site.sink);
    let thief = messages(&site, request_id);
    clear(&mut site, |sink| sink.refused.len());
    thief.join().unwrap().unwrap_err();
    assert_eq!(site.sink.refused[0].owner, Some(next));
    // `Born` of the next incarnation is read only now. A second `Gone` of the former one does not remove it.
    site.sink.births.push((next, own));
    site.dispatcher.gone(VICTIM, &mut site.sink);
    let child = messages(&site, request_id);
    clear(&mut site, |sink| sink.asked.len() + sink.given.len());
    assert_eq!(site.sink.refused.len(), 2);
    site.sink.asked.clear();
    child.join().unwrap().unwrap_err();
    drop(claim);
}

#[test]
fn a_full_reply_socket_does_not_block_the_front() {
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
    let pair = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    );
    let (reply, _reader) = pair.unwrap();
    while send(&reply, &[0; 1000], SendFlags::DONTWAIT).is_ok() {}
    let wanted = WantedBody {
        request_id: RequestId { slot: 0, seq: 1 },
        reply,
    };
    let file = fs::File::open("/dev/null").unwrap();
    let given = wanted.give(std::os::fd::AsFd::as_fd(&file));
    assert_eq!(given.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
