//! What supervisor, mold and children say to each other.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use exchange::ChildId;

use crate::ipc::channel::{Envelope, LONGEST, Message};

/// From the supervisor to the mold.
#[derive(Debug)]
pub enum Order {
    /// Fork a child.
    Spawn(Spawn),
    /// Leave.
    Retire,
}

/// A child to be born.
#[derive(Debug)]
pub struct Spawn {
    /// Who it will be.
    pub child: ChildId,
    /// The generation it belongs to.
    pub generation: u32,
    /// No child of this generation has been ready: whether one can be is what is to be found out.
    pub is_first: bool,
    /// Its end of the line to the supervisor.
    pub channel: OwnedFd,
}

/// Why an application cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unloadable {
    /// The traceback, or another reason.
    pub why: String,
    /// There is no such application: to try again does not help.
    pub is_final: bool,
}

/// From the mold to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoldReport {
    /// The application is being loaded: from here on its code runs.
    Loading,
    /// Children can be forked.
    Ready {
        /// What the operator may want to know: the Python version and the like, one line each.
        about: String,
    },
    /// The application cannot be loaded; what is told has been written, too.
    Unloadable(Unloadable),
    /// These files belong to modules of the application.
    Modules {
        /// Some of them, all that fit into a message.
        files: Vec<PathBuf>,
    },
    /// What the application has set up cannot be shared with forked children.
    Unshareable {
        /// What it is.
        why: String,
    },
    /// A child could not be forked.
    ForkFailed {
        /// Which.
        child: ChildId,
        /// Why, as the kernel says it.
        errno: i32,
    },
}

/// From the supervisor to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildOrder {
    /// The front has been told of the child: take requests when the application is ready.
    Serve,
    /// Take no further request, and leave when the last answer has been given.
    Drain,
    /// The server ends: what the application prints must not hold that up when nobody reads it.
    GiveUpOutput,
}

/// From a child to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildReport {
    /// The process is there. Said for it by the process between, since it may never come to speak itself: hooks of the
    /// application run first. It is looked up before it is believed.
    Forked {
        /// Its number.
        pid: u32,
    },
    /// The process that says it is there and the supervisor's own child. Which one that is, the kernel tells.
    Born,
    /// Requests are taken.
    Ready,
    /// The application cannot be loaded; what is told has been written, too.
    Unloadable(Unloadable),
    /// It cannot begin for want of something that the machine is short of.
    Short,
    /// As many requests as it may answer have been answered. Further ones are taken until the order to drain.
    Spent,
    /// The order to drain has been heard: no further request is taken.
    Draining,
    /// These files belong to modules of the application.
    Modules {
        /// Some of them, all that fit into a message.
        files: Vec<PathBuf>,
    },
}

impl Message for Order {
    fn encode(self) -> Envelope {
        match self {
            Self::Spawn(Spawn {
                child,
                generation,
                is_first,
                channel,
            }) => Envelope {
                bytes: about(if is_first { 3 } else { 1 }, child, generation),
                descriptor: Some(channel),
            },
            Self::Retire => bare(2),
        }
    }

    fn decode(bytes: &[u8], descriptor: Option<OwnedFd>) -> Option<Self> {
        match (bytes.split_first()?, descriptor) {
            ((kind @ (1 | 3), rest), Some(channel)) => {
                let (child, generation) = who(rest)?;
                Some(Self::Spawn(Spawn {
                    child,
                    generation,
                    is_first: *kind == 3,
                    channel,
                }))
            }
            ((2, []), None) => Some(Self::Retire),
            _ => None,
        }
    }
}

impl Message for MoldReport {
    fn encode(self) -> Envelope {
        match self {
            Self::Loading => bare(7),
            Self::Ready { about } => text(1, &about),
            Self::Unloadable(unloadable) => unloadable.encode(2, 8),
            Self::Modules { files } => paths(5, &files),
            Self::Unshareable { why } => text(3, &why),
            Self::ForkFailed { child, errno } => Envelope {
                bytes: about(4, child, errno.cast_unsigned()),
                descriptor: None,
            },
        }
    }

    fn decode(bytes: &[u8], _descriptor: Option<OwnedFd>) -> Option<Self> {
        match bytes.split_first()? {
            (1, rest) => Some(Self::Ready {
                about: String::from_utf8(rest.to_vec()).ok()?,
            }),
            (7, []) => Some(Self::Loading),
            (kind @ (2 | 8), rest) => Unloadable::decode(*kind == 8, rest).map(Self::Unloadable),
            (5, rest) => Some(Self::Modules { files: split(rest) }),
            (3, rest) => Some(Self::Unshareable {
                why: String::from_utf8(rest.to_vec()).ok()?,
            }),
            (4, rest) => {
                let (child, errno) = who(rest)?;
                Some(Self::ForkFailed {
                    child,
                    errno: errno.cast_signed(),
                })
            }
            _ => None,
        }
    }
}

impl Message for ChildOrder {
    fn encode(self) -> Envelope {
        match self {
            Self::Drain => bare(1),
            Self::GiveUpOutput => bare(2),
            Self::Serve => bare(3),
        }
    }

    fn decode(bytes: &[u8], _descriptor: Option<OwnedFd>) -> Option<Self> {
        match bytes {
            [1] => Some(Self::Drain),
            [2] => Some(Self::GiveUpOutput),
            [3] => Some(Self::Serve),
            _ => None,
        }
    }
}

impl ChildReport {
    /// What kind of report it is: what it says may be long.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Forked { .. } => "forked",
            Self::Born => "born",
            Self::Ready => "ready",
            Self::Unloadable(_) => "unloadable",
            Self::Short => "short",
            Self::Spent => "spent",
            Self::Draining => "draining",
            Self::Modules { .. } => "modules",
        }
    }
}

impl Message for ChildReport {
    fn encode(self) -> Envelope {
        match self {
            Self::Forked { pid } => number(6, pid),
            Self::Born => bare(1),
            Self::Ready => bare(2),
            Self::Unloadable(unloadable) => unloadable.encode(3, 8),
            Self::Short => bare(10),
            Self::Spent => bare(4),
            Self::Draining => bare(7),
            Self::Modules { files } => paths(5, &files),
        }
    }

    fn decode(bytes: &[u8], _descriptor: Option<OwnedFd>) -> Option<Self> {
        match bytes.split_first()? {
            (6, rest) => Some(Self::Forked {
                pid: u32::from_le_bytes(rest.try_into().ok()?),
            }),
            (1, []) => Some(Self::Born),
            (2, []) => Some(Self::Ready),
            (kind @ (3 | 8), rest) => Unloadable::decode(*kind == 8, rest).map(Self::Unloadable),
            (10, []) => Some(Self::Short),
            (4, []) => Some(Self::Spent),
            (7, []) => Some(Self::Draining),
            (5, rest) => Some(Self::Modules { files: split(rest) }),
            _ => None,
        }
    }
}

impl Unloadable {
    fn encode(self, kind: u8, kind_of_final: u8) -> Envelope {
        let kind = if self.is_final { kind_of_final } else { kind };
        end_of_text(kind, &self.why)
    }

    fn decode(is_final: bool, bytes: &[u8]) -> Option<Self> {
        let why = String::from_utf8(bytes.to_vec()).ok()?;
        Some(Self { why, is_final })
    }
}

/// A message that says all by its kind.
fn bare(kind: u8) -> Envelope {
    Envelope {
        bytes: vec![kind],
        descriptor: None,
    }
}

/// A message with a number.
fn number(kind: u8, number: u32) -> Envelope {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&number.to_le_bytes());
    Envelope {
        bytes,
        descriptor: None,
    }
}

/// A message with a text, cut where it is too long.
fn text(kind: u8, text: &str) -> Envelope {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&text.as_bytes()[..text.floor_char_boundary(LONGEST - 1)]);
    Envelope {
        bytes,
        descriptor: None,
    }
}

/// A message with a text of which the end says most, cut at its beginning where it is too long.
fn end_of_text(kind: u8, text: &str) -> Envelope {
    let too_many = text.len().saturating_sub(LONGEST - 1);
    self::text(kind, &text[text.ceil_char_boundary(too_many)..])
}

/// As many of these paths, from the first one on, as one message holds. One that fits into none is left out.
pub(crate) fn prefix_that_fits(files: &[PathBuf]) -> &[PathBuf] {
    let mut bytes = 1;
    let fit = files.iter().take_while(|file| {
        bytes += file.as_os_str().len() + 1;
        bytes <= LONGEST
    });
    &files[..fit.count()]
}

/// A message with paths.
fn paths(kind: u8, files: &[PathBuf]) -> Envelope {
    let mut bytes = vec![kind];
    for file in prefix_that_fits(files) {
        bytes.extend_from_slice(file.as_os_str().as_bytes());
        bytes.push(0);
    }
    Envelope {
        bytes,
        descriptor: None,
    }
}

/// Reads what [`paths`] wrote after the kind.
fn split(bytes: &[u8]) -> Vec<PathBuf> {
    let parts = bytes.split(|byte| *byte == 0);
    parts
        .filter(|part| !part.is_empty())
        .map(|part| OsStr::from_bytes(part).into())
        .collect()
}

/// The bytes of a message about a child, with a number.
fn about(kind: u8, child: ChildId, number: u32) -> Vec<u8> {
    let mut bytes = vec![kind, child.life];
    bytes.extend_from_slice(&child.slot.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

/// Reads what [`about`] wrote after the kind.
fn who(bytes: &[u8]) -> Option<(ChildId, u32)> {
    let &[life, low, high, a, b, c, d] = bytes else {
        return None;
    };
    Some((
        ChildId {
            slot: u16::from_le_bytes([low, high]),
            life,
        },
        u32::from_le_bytes([a, b, c, d]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<M: Message>(message: M) -> Option<M> {
        let envelope = message.encode();
        assert!((1..=LONGEST).contains(&envelope.bytes.len()));
        M::decode(&envelope.bytes, envelope.descriptor)
    }

    #[test]
    fn reports_survive_the_journey() {
        let child = ChildId {
            slot: 511,
            life: 255,
        };
        for report in [
            MoldReport::Ready {
                about: "Python 3.11".to_owned(),
            },
            MoldReport::Ready {
                about: String::new(),
            },
            MoldReport::Loading,
            MoldReport::Unloadable(Unloadable {
                why: "Traceback\nValueError: no".to_owned(),
                is_final: false,
            }),
            MoldReport::Unloadable(Unloadable {
                why: "there is no file".to_owned(),
                is_final: true,
            }),
            MoldReport::Modules {
                files: vec!["/a/b.py".into(), "/c.py".into()],
            },
            MoldReport::Unshareable {
                why: "thread „x“".to_owned(),
            },
            MoldReport::ForkFailed { child, errno: 11 },
        ] {
            assert_eq!(there_and_back(report.clone()), Some(report));
        }
        for report in [
            ChildReport::Forked { pid: 4_194_304 },
            ChildReport::Born,
            ChildReport::Ready,
            ChildReport::Unloadable(Unloadable {
                why: String::new(),
                is_final: false,
            }),
            ChildReport::Unloadable(Unloadable {
                why: String::new(),
                is_final: true,
            }),
            ChildReport::Short,
            ChildReport::Spent,
            ChildReport::Draining,
            ChildReport::Modules { files: vec![] },
        ] {
            assert_eq!(there_and_back(report.clone()), Some(report));
        }
        let orders = [
            ChildOrder::Serve,
            ChildOrder::Drain,
            ChildOrder::GiveUpOutput,
        ];
        for order in orders {
            assert_eq!(there_and_back(order), Some(order));
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let Some(MoldReport::Unshareable { why }) = there_and_back(MoldReport::Unshareable {
            why: "é".repeat(LONGEST),
        }) else {
            panic!("no report")
        };
        assert_eq!(why, "é".repeat((LONGEST - 1) / 2));
    }

    #[test]
    fn of_a_traceback_that_is_too_long_the_end_is_told() {
        let long = format!("é{}ValueError", "x".repeat(LONGEST - 11));
        let unloadable = Unloadable {
            why: long.clone(),
            is_final: false,
        };
        let Some(MoldReport::Unloadable(Unloadable { why, .. })) =
            there_and_back(MoldReport::Unloadable(unloadable))
        else {
            panic!("no report")
        };
        assert_eq!(why, long[2..]);
    }

    #[test]
    fn paths_that_do_not_fit_are_left_for_the_next_message() {
        let files: Vec<PathBuf> = (0..300)
            .map(|number| format!("/{number}/{}", "x".repeat(100)).into())
            .collect();
        let Some(ChildReport::Modules { files: told }) = there_and_back(ChildReport::Modules {
            files: files.clone(),
        }) else {
            panic!("no report")
        };
        assert_eq!(told, prefix_that_fits(&files));
        assert!((100..200).contains(&told.len()));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [&[][..], &[0], &[1, 0], &[2, 0], &[4, 1, 2, 3], &[9]] {
            assert!(Order::decode(bytes, None).is_none());
            assert_eq!(ChildReport::decode(bytes, None), None);
        }
        assert!(MoldReport::decode(&[1, 0xff], None).is_none(), "no UTF-8");
        assert!(
            Order::decode(&about(1, ChildId { slot: 0, life: 0 }, 1), None).is_none(),
            "no channel"
        );
    }
}
