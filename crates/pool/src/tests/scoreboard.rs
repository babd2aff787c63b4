//! States in Apache's notation, a letter for each application thread, and decisions as text.
//!
//! `.` vacant, `S` starting, `_` idle, `W` with a request, `G` told to leave. Two more are this server's own: `o` is ordered
//! and not yet forked, `g` is reaped and not yet cleared. Spaces separate children; slots that are left out at the end are
//! vacant. All states are since second 0.

use std::time::Duration;

use crate::{
    Action, Child, Demand, Directives, Elastic, Event, Exit, GiveUp, Limits, Memory, Message, Mold,
    Observed, Pool, Recycling, Weight, decide,
};

const SINCE: Duration = Duration::ZERO;

/// A supervisor whose states and decisions are text.
pub(super) struct Bench {
    pub(super) pool: Pool,
    elastic: Elastic,
    memory: Memory,
    pub(super) mold: Mold,
    pub(super) demand: Demand,
    pub(super) weight: Option<Weight>,
    pub(super) computing: Option<u32>,
    /// When the last look has asked for the next.
    pub(super) next_look: Option<Duration>,
}

impl Bench {
    pub(super) fn apache(directives: Directives) -> Self {
        let elastic = uncorrected(directives);
        Self::new(Pool::Apache(elastic), elastic)
    }

    pub(super) fn new(pool: Pool, elastic: Elastic) -> Self {
        Self {
            pool,
            elastic,
            memory: Memory::default(),
            mold: Mold::Ready { since: SINCE },
            demand: Demand::default(),
            weight: None,
            computing: None,
            next_look: None,
        }
    }

    /// A server whose `StartServers` have just been started, at second 0.
    pub(super) fn started(directives: Directives) -> Self {
        let mut bench = Self::apache(directives);
        bench.look(0.0, "", &[]);
        bench
    }

    pub(super) fn look(&mut self, seconds: f64, board: &str, events: &[Event]) -> String {
        let limits = Limits {
            pool: self.pool,
            startup_timeout: Duration::from_secs(3600),
            shutdown_timeout: Duration::from_secs(30),
            recycling: Recycling::default(),
        };
        let children = children(board, &self.elastic);
        let seen = Observed {
            now: Duration::from_secs_f64(seconds),
            mold: self.mold,
            children: &children,
            stats: &[],
            demand: self.demand,
            weight: self.weight,
            computing: self.computing,
            events,
        };
        let actions = decide(&limits, &mut self.memory, &seen);
        self.next_look = actions.iter().find_map(|action| match action {
            Action::LookAgain { at } => Some(*at),
            _ => None,
        });
        text(&actions)
    }

    /// Several looks: (second, scoreboard, events, decision).
    pub(super) fn check(&mut self, looks: &[(f64, &str, &[Event], &str)]) {
        for (index, (seconds, board, events, expected)) in looks.iter().enumerate() {
            assert_eq!(
                self.look(*seconds, board, events),
                *expected,
                "look {index}: {board} at {seconds}"
            );
        }
    }
}

/// The bounds of directives that Apache does not correct.
pub(super) fn uncorrected(directives: Directives) -> Elastic {
    let (elastic, corrections) = directives.correct(None);
    assert_eq!(corrections, []);
    elastic
}

pub(super) fn reaped(slot: u16, exit: Exit) -> Event {
    Event::Reaped { slot, exit }
}

fn children(board: &str, elastic: &Elastic) -> Vec<Child> {
    let letters: Vec<char> = board.chars().filter(|letter| *letter != ' ').collect();
    let mut children: Vec<_> = letters
        .chunks(usize::from(elastic.threads_per_child()))
        .map(child)
        .collect();
    children.resize(usize::from(elastic.max_children()), Child::Vacant);
    children
}

fn child(threads: &[char]) -> Child {
    match threads[0] {
        '.' => Child::Vacant,
        'o' => Child::Ordered { since: SINCE },
        'S' => Child::Starting { since: SINCE },
        'G' => Child::Leaving,
        'g' => Child::Gone,
        '_' | 'W' => Child::Ready {
            since: SINCE,
            busy: u16::try_from(threads.iter().filter(|thread| **thread == 'W').count()).unwrap(),
        },
        other => panic!("{other:?} is no thread"),
    }
}

/// `+0..4` starts the children of these slots, `-3` tells one to leave. The time of the next look is left out.
fn text(actions: &[Action]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut run: Option<(u16, u16)> = None;
    for action in actions {
        if let Action::Spawn { slot } = *action {
            if let Some((_, last)) = &mut run
                && *last + 1 == slot
            {
                *last = slot;
                continue;
            }
            words.extend(run.replace((slot, slot)).map(spawned));
            continue;
        }
        words.extend(run.take().map(spawned));
        words.extend(match action {
            Action::LookAgain { .. } => None,
            Action::Retire { slot } => Some(format!("-{slot}")),
            Action::Log(message) => Some(shown(message)),
            Action::GiveUp(GiveUp::FatalExit { slot }) => Some(format!("fatal {slot}")),
            Action::GiveUp(GiveUp::NeverHealthy) => Some("never healthy".to_owned()),
            other => Some(format!("{other:?}")),
        });
    }
    words.extend(run.map(spawned));
    words.join(" ")
}

fn spawned((first, last): (u16, u16)) -> String {
    if first == last {
        format!("+{first}")
    } else {
        format!("+{first}..{last}")
    }
}

fn shown(message: &Message) -> String {
    match message {
        Message::Busy {
            spawning,
            idle,
            total,
        } => format!("busy({spawning}, {idle}, {total})"),
        Message::ReachedMaxRequestWorkers => "reached".to_owned(),
        Message::NearMaxRequestWorkers => "near".to_owned(),
        Message::ScoreboardFull => "full".to_owned(),
        Message::KilledSuccessively => "killed".to_owned(),
        Message::ReachedMemoryBudget { children, .. } => format!("budget({children})"),
    }
}
