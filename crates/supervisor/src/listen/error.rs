//! Why an address cannot be listened on.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use nix::errno::Errno;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{0} is in use")]
    InUse(String),
    /// There is something else than a socket, which is left alone.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
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
    /// Somebody or something else is there already.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse(_) | Self::NotASocket(_))
    }

    /// The address is taken, or not there: a name that nobody resolves, an interface that is not up. That may change
    /// without anything being done about the configuration.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::InUse(_) | Self::NotASocket(_) | Self::Unresolved { .. } => true,
            Self::NotListening(_) => false,
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
