//! What supervisor, mold and children say to each other. Both ends are the same program, so that nothing is said about versions;
//! but a child runs the application's code, and what it says may be anything.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use exchange::ChildId;
use serde::{Deserialize, Serialize};

use crate::config::SiteId;
use crate::ipc::channel::{Envelope, LONGEST, Message};

/// The most bytes that a length takes, of what is no longer than a message.
const LENGTH: usize = 3;
/// What fits into a message beside its kind, a length and a flag.
const LONGEST_TEXT: usize = LONGEST - 1 - LENGTH - 1;

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
    /// The site it belongs to.
    pub site: SiteId,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unloadable {
    /// The traceback, or another reason.
    pub why: String,
    /// There is no such application: to try again does not help.
    pub is_final: bool,
}

/// From the mold to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        #[serde(with = "paths")]
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
        #[serde(with = "ChildIdBytes")]
        child: ChildId,
        /// Why, as the kernel says it.
        errno: i32,
    },
}

/// From the supervisor to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildOrder {
    /// The front has been told of the child: take requests when the application is ready.
    Serve,
    /// Take no further request, and leave when the last answer has been given.
    Drain,
    /// The server ends: what the application prints must not hold that up when nobody reads it.
    GiveUpOutput,
}

/// From a child to the supervisor. Tests forge some of these by their bytes: the first is the place in this list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildReport {
    /// It cannot begin for want of something that the machine is short of.
    Short,
    /// The process that says it is there and the supervisor's own child. Which one that is, the kernel tells.
    Born,
    /// Requests are taken.
    Ready,
    /// The application cannot be loaded; what is told has been written, too.
    Unloadable(Unloadable),
    /// As many requests as it may answer have been answered. Further ones are taken until the order to drain.
    Spent,
    /// These files belong to modules of the application.
    Modules {
        /// Some of them, all that fit into a message.
        #[serde(with = "paths")]
        files: Vec<PathBuf>,
    },
    /// The process is there. Said for it by the process between, since it may never come to speak itself: hooks of the
    /// application run first. It is looked up before it is believed.
    Forked {
        /// Its number.
        #[serde(with = "postcard::fixint::le")]
        pid: u32,
    },
    /// The order to drain has been heard: no further request is taken.
    Draining,
}

/// An order as it travels, beside its descriptor.
#[derive(Serialize, Deserialize)]
enum OrderBytes {
    Spawn {
        site: SiteId,
        #[serde(with = "ChildIdBytes")]
        child: ChildId,
        generation: u32,
        is_first: bool,
    },
    Retire,
}

/// The exchange's name of a child.
#[derive(Serialize, Deserialize)]
#[serde(remote = "ChildId")]
struct ChildIdBytes {
    slot: u16,
    incarnation: u8,
}

impl Message for Order {
    fn encode(self) -> Envelope {
        let (bytes, descriptor) = match self {
            Self::Spawn(Spawn {
                site,
                child,
                generation,
                is_first,
                channel,
            }) => {
                let bytes = OrderBytes::Spawn {
                    site,
                    child,
                    generation,
                    is_first,
                };
                (bytes, Some(channel))
            }
            Self::Retire => (OrderBytes::Retire, None),
        };
        Envelope {
            bytes: pack(&bytes),
            descriptor,
        }
    }

    fn decode(bytes: &[u8], descriptor: Option<OwnedFd>) -> Option<Self> {
        match (unpack(bytes)?, descriptor) {
            (
                OrderBytes::Spawn {
                    site,
                    child,
                    generation,
                    is_first,
                },
                Some(channel),
            ) => Some(Self::Spawn(Spawn {
                site,
                child,
                generation,
                is_first,
                channel,
            })),
            (OrderBytes::Retire, None) => Some(Self::Retire),
            _ => None,
        }
    }
}

impl Message for MoldReport {
    fn encode(self) -> Envelope {
        bare(&match self {
            Self::Ready { about } => Self::Ready {
                about: beginning(about),
            },
            Self::Unloadable(unloadable) => Self::Unloadable(unloadable.cut()),
            Self::Unshareable { why } => Self::Unshareable {
                why: beginning(why),
            },
            Self::Modules { files } => Self::Modules {
                files: prefix_that_fits(&files).to_vec(),
            },
            report @ (Self::Loading | Self::ForkFailed { .. }) => report,
        })
    }

    fn decode(bytes: &[u8], _descriptor: Option<OwnedFd>) -> Option<Self> {
        unpack(bytes)
    }
}

impl Message for ChildOrder {
    fn encode(self) -> Envelope {
        bare(&self)
    }

    fn decode(bytes: &[u8], _descriptor: Option<OwnedFd>) -> Option<Self> {
        unpack(bytes)
    }
}

impl Message for ChildReport {
    fn encode(self) -> Envelope {
        bare(&match self {
            Self::Unloadable(unloadable) => Self::Unloadable(unloadable.cut()),
            Self::Modules { files } => Self::Modules {
                files: prefix_that_fits(&files).to_vec(),
            },
            report => report,
        })
    }

    fn decode(bytes: &[u8], _descriptor: Option<OwnedFd>) -> Option<Self> {
        unpack(bytes)
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

impl Unloadable {
    /// The same, with the end of a text that is too long: that says most.
    fn cut(self) -> Self {
        let too_many = self.why.len().saturating_sub(LONGEST_TEXT);
        let from = self.why.ceil_char_boundary(too_many);
        Self {
            why: self.why[from..].to_owned(),
            ..self
        }
    }
}

/// A text, cut at its end where it is too long.
fn beginning(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    text
}

/// As many of these paths, from the first one on, as one message holds. One that fits into none is left out.
pub(crate) fn prefix_that_fits(files: &[PathBuf]) -> &[PathBuf] {
    let mut bytes = 0;
    let fit = files.iter().take_while(|file| {
        bytes += file.as_os_str().len() + LENGTH;
        bytes <= LONGEST_TEXT
    });
    &files[..fit.count()]
}

/// Paths are bytes, not text.
mod paths {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        files: &[PathBuf],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(files.iter().map(|file| file.as_os_str().as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<PathBuf>, D::Error> {
        let files = Vec::<&[u8]>::deserialize(deserializer)?;
        if files
            .iter()
            .any(|file| file.is_empty() || file.contains(&0))
        {
            return Err(D::Error::custom("no file has such a path"));
        }
        Ok(files
            .into_iter()
            .map(|file| OsStr::from_bytes(file).into())
            .collect())
    }
}

/// A message without a descriptor.
fn bare(message: &impl Serialize) -> Envelope {
    Envelope {
        bytes: pack(message),
        descriptor: None,
    }
}

fn pack(message: &impl Serialize) -> Vec<u8> {
    let mut buffer = [0; LONGEST];
    let written = postcard::to_slice(message, &mut buffer);
    written
        .expect("what may be long has been cut to fit")
        .to_vec()
}

/// The message, if the bytes are one and nothing else.
fn unpack<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Option<M> {
    let (message, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    fn there_and_back<M: Message>(message: M) -> Option<M> {
        let envelope = message.encode();
        assert!((1..=LONGEST).contains(&envelope.bytes.len()));
        M::decode(&envelope.bytes, envelope.descriptor)
    }

    #[test]
    fn reports_survive_the_journey() {
        let child = ChildId {
            slot: 511,
            incarnation: 255,
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
        assert_eq!(why, "é".repeat(LONGEST_TEXT / 2));
    }

    #[test]
    fn of_a_traceback_that_is_too_long_the_end_is_told() {
        let long = format!("é{}ValueError", "x".repeat(LONGEST_TEXT - 11));
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
    fn an_order_to_fork_keeps_its_descriptor_and_names_the_site() {
        let (_, channel) = std::io::pipe().unwrap();
        let spawn = Spawn {
            site: SiteId(3),
            child: ChildId {
                slot: 2,
                incarnation: 9,
            },
            generation: 7,
            is_first: true,
            channel: channel.into(),
        };
        let Some(Order::Spawn(spawn)) = there_and_back(Order::Spawn(spawn)) else {
            panic!("no order")
        };
        assert_eq!(spawn.site, SiteId(3));
        assert_eq!(
            spawn.child,
            ChildId {
                slot: 2,
                incarnation: 9
            }
        );
        assert_eq!((spawn.generation, spawn.is_first), (7, true));
        assert!(matches!(there_and_back(Order::Retire), Some(Order::Retire)));
    }

    #[test]
    fn a_path_is_bytes_and_a_file_that_none_has_is_refused() {
        let odd = PathBuf::from(OsStr::from_bytes(b"/a/\xff.py"));
        let report = ChildReport::Modules { files: vec![odd] };
        assert_eq!(there_and_back(report.clone()), Some(report));
        for path in ["", "/a\0b"] {
            let report = ChildReport::Modules {
                files: vec![path.into()],
            };
            assert_eq!(there_and_back(report), None, "{path:?}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        // Nothing, an unknown kind, one byte too many, one too few, a text longer than the message, and text that is none.
        for bytes in [
            &[][..],
            &[99],
            &[1, 0],
            &[6, 1, 2, 3],
            &[3, 200, 1],
            &[3, 1, 0xff, 0],
        ] {
            assert!(Order::decode(bytes, None).is_none(), "{bytes:?}");
            assert_eq!(ChildReport::decode(bytes, None), None, "{bytes:?}");
        }
        let longest = [5, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(ChildReport::decode(&longest, None), None, "no such list");
        assert!(
            MoldReport::decode(&[1, 1, 0xff], None).is_none(),
            "no UTF-8"
        );
        let spawn = OrderBytes::Spawn {
            site: SiteId(0),
            child: ChildId {
                slot: 0,
                incarnation: 0,
            },
            generation: 1,
            is_first: false,
        };
        assert!(Order::decode(&pack(&spawn), None).is_none(), "no channel");
        let (_, channel) = std::io::pipe().unwrap();
        let retire = Order::decode(&pack(&OrderBytes::Retire), Some(channel.into()));
        assert!(retire.is_none(), "a channel for nothing");
    }
}
