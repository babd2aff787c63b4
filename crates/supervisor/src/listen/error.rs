//! Why an address cannot be listened on.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use nix::errno::Errno;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("{0} is in use")]
    InUse(String),
    /// The path exists and is not a socket; it is not removed.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The group that a unix socket is to have.
    #[error("cannot listen on {address}: its group {problem}")]
    Group {
        /// The address.
        address: String,
        /// What is wrong with it; the end of a sentence.
        problem: String,
    },
    /// The host has no address.
    #[error("{host} cannot be resolved")]
    Unresolved {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The descriptor is not a stream socket that listens.
    #[error("descriptor {0} is not a socket that listens")]
    NotListening(RawFd),
    /// The system refuses.
    #[error("cannot listen on {address}")]
    Refused {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BindError {
    /// The address or the path is taken.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse(_) | Self::NotASocket(_))
    }

    /// The error may disappear without a change of the configuration: the address is taken, the name is not
    /// resolved, or the interface is not up.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::InUse(_) | Self::NotASocket(_) | Self::Unresolved { .. } => true,
            Self::NotListening(_) | Self::Group { .. } => false,
            Self::Refused { source, .. } => {
                let errno = source.raw_os_error().map(Errno::from_raw);
                matches!(errno, Some(Errno::EADDRNOTAVAIL | Errno::ENODEV))
            }
        }
    }

    pub(crate) fn refused(address: &impl fmt::Display, errno: Errno) -> Self {
        match errno {
            Errno::EADDRINUSE => Self::InUse(address.to_string()),
            errno => Self::Refused {
                address: address.to_string(),
                source: errno.into(),
            },
        }
    }
}
