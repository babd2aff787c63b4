//! The messages between supervisor, mold and children. Both ends are the same program, so there is no version; but
//! a child runs the application's code, so its messages are not trusted.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use exchange::ChildId;
use serde::{Deserialize, Serialize};

use crate::config::SiteId;
use crate::ipc::channel::{Envelope, LONGEST, Message};

/// The most bytes of an encoded length up to the maximum of a message.
const LENGTH: usize = 3;
/// Bytes of text that fit into a message beside kind, length and a flag.
const LONGEST_TEXT: usize = LONGEST - 1 - LENGTH - 1;

/// From the supervisor to the mold.
#[derive(Debug)]
pub enum Order {
    /// Fork a child.
    Spawn(Spawn),
    /// Exit.
    Retire,
}

/// The order to fork a child.
#[derive(Debug)]
pub struct Spawn {
    /// The site it belongs to.
    pub site: SiteId,
    /// Its id.
    pub child: ChildId,
    /// The generation it belongs to.
    pub generation: u32,
    /// No child of this generation has been ready yet: this one shows whether the generation works.
    pub is_first: bool,
    /// Its end of the channel to the supervisor.
    pub channel: OwnedFd,
}

/// Why an application cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unloadable {
    /// The traceback, or another reason.
    pub why: String,
    /// The application does not exist: retrying does not help.
    pub is_final: bool,
}

/// From the mold to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoldReport {
    /// The application is being loaded: its code runs from now on.
    Loading,
    /// Children can be forked.
    Ready {
        /// Information for the operator, such as the Python version, one line each.
        about: String,
    },
    /// The application cannot be loaded. The reason was also printed.
    Unloadable(Unloadable),
    /// These files belong to modules of the application.
    Modules {
        /// Some of the files, as many as fit into a message.
        #[serde(with = "paths")]
        files: Vec<PathBuf>,
    },
    /// The application has set up something that cannot be shared with forked children.
    Unshareable {
        /// What that is.
        why: String,
    },
    /// A child could not be forked.
    ForkFailed {
        /// The child.
        #[serde(with = "ChildIdBytes")]
        child: ChildId,
        /// The error number of the fork.
        errno: i32,
    },
}

/// From the supervisor to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildOrder {
    /// The front knows the child: take requests once the application is ready.
    Serve,
    /// Take no further requests, and exit after the last response.
    Drain,
    /// The server is ending: printing must not block when there is no reader.
    GiveUpOutput,
}

/// From a child to the supervisor. Tests forge some of these messages byte by byte: the first byte is the position
/// in this list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildReport {
    /// It cannot start because the machine lacks a resource.
    Short,
    /// The sender is the child process. The kernel reports the sender's process id.
    Born,
    /// The child takes requests.
    Ready,
    /// The application cannot be loaded. The reason was also printed.
    Unloadable(Unloadable),
    /// The child has answered its maximum of requests. It takes further ones until it is told to drain.
    Spent,
    /// The child has got SIGTERM. It takes further requests until it is told to drain.
    Terminated,
    /// These files belong to modules of the application.
    Modules {
        /// Some of the files, as many as fit into a message.
        #[serde(with = "paths")]
        files: Vec<PathBuf>,
    },
    /// The child process exists. The intermediate process sends this, because the child may fail before it can:
    /// hooks of the application run first. The supervisor verifies it before use.
    Forked {
        /// The process id.
        #[serde(with = "postcard::fixint::le")]
        pid: u32,
    },
    /// The child has received the order to drain, and takes no further requests.
    Draining,
}

/// An order as it is encoded, without its descriptor.
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

/// The id of a child in the exchange.
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
    /// The kind of report, without its text, which may be long.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Forked { .. } => "forked",
            Self::Born => "born",
            Self::Ready => "ready",
            Self::Unloadable(_) => "unloadable",
            Self::Short => "short",
            Self::Spent => "spent",
            Self::Terminated => "terminated",
            Self::Draining => "draining",
            Self::Modules { .. } => "modules",
        }
    }
}

impl Unloadable {
    /// Cuts a text that is too long, and keeps its end, which is the most informative part.
    fn cut(self) -> Self {
        let too_many = self.why.len().saturating_sub(LONGEST_TEXT);
        let from = self.why.ceil_char_boundary(too_many);
        Self {
            why: self.why[from..].to_owned(),
            ..self
        }
    }
}

/// Cuts a text that is too long at its end.
fn beginning(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    text
}

/// The first of these paths, as many as fit into one message. A path that fits into none is left out.
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

/// Encodes a message without a descriptor.
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

/// Decodes a message; `None` unless the bytes are exactly one.
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
    fn reports_are_decoded_as_encoded() {
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
            ChildReport::Terminated,
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
    fn a_long_traceback_keeps_its_end() {
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
        let Some(ChildReport::Modules { files: received }) = there_and_back(ChildReport::Modules {
            files: files.clone(),
        }) else {
            panic!("no report")
        };
        assert_eq!(received, prefix_that_fits(&files));
        assert!((100..200).contains(&received.len()));
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
    fn paths_are_bytes_and_impossible_ones_are_refused() {
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
    fn invalid_messages_are_refused() {
        // Empty, an unknown kind, one byte too many, one too few, a text longer than the message, and invalid text.
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
