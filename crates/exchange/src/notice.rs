//! What the supervisor and the front tell each other about children: eight bytes a message.

use crate::ids::ChildId;

/// The length of every message.
pub const LEN: usize = 8;

/// From the supervisor to the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToFront {
    /// The child has been reaped: give its requests up and clear its places, then answer [`FromFront::Cleared`].
    Gone(ChildId),
    /// Serve on, and let each answer be the last of its connection: the server is about to stop.
    Close,
    /// Take no new connection, finish what is there, then answer [`FromFront::Drained`].
    Drain,
    /// Open the log files anew: somebody has moved them away.
    Reopen,
}

/// From the front to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromFront {
    /// Connections are accepted from now on.
    Serving,
    /// Nothing of that child is left in the exchange: its slot may have another life.
    Cleared(ChildId),
    /// Every connection has ended.
    Drained,
    /// The child wrote what no child writes: it must be killed.
    Corrupt(ChildId),
}

impl ToFront {
    /// The message as it travels.
    #[must_use]
    pub fn encode(self) -> [u8; LEN] {
        match self {
            Self::Gone(child) => pack(1, Some(child)),
            Self::Drain => pack(2, None),
            Self::Reopen => pack(3, None),
            Self::Close => pack(4, None),
        }
    }

    /// The message, or `None` when these bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, child) = unpack(bytes)?;
        match kind {
            1 => Some(Self::Gone(child)),
            2 => Some(Self::Drain),
            3 => Some(Self::Reopen),
            4 => Some(Self::Close),
            _ => None,
        }
    }
}

impl FromFront {
    /// The message as it travels.
    #[must_use]
    pub fn encode(self) -> [u8; LEN] {
        match self {
            Self::Serving => pack(1, None),
            Self::Cleared(child) => pack(2, Some(child)),
            Self::Drained => pack(3, None),
            Self::Corrupt(child) => pack(4, Some(child)),
        }
    }

    /// The message, or `None` when these bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, child) = unpack(bytes)?;
        match kind {
            1 => Some(Self::Serving),
            2 => Some(Self::Cleared(child)),
            3 => Some(Self::Drained),
            4 => Some(Self::Corrupt(child)),
            _ => None,
        }
    }
}

fn pack(kind: u8, child: Option<ChildId>) -> [u8; LEN] {
    let child = child.unwrap_or(ChildId { slot: 0, life: 0 });
    let [low, high] = child.slot.to_le_bytes();
    [kind, child.life, low, high, 0, 0, 0, 0]
}

fn unpack(bytes: &[u8]) -> Option<(u8, ChildId)> {
    let &[kind, life, low, high, 0, 0, 0, 0] = bytes else {
        return None;
    };
    Some((
        kind,
        ChildId {
            slot: u16::from_le_bytes([low, high]),
            life,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_journey() {
        let child = ChildId {
            slot: 513,
            life: 200,
        };
        for message in [
            ToFront::Gone(child),
            ToFront::Drain,
            ToFront::Reopen,
            ToFront::Close,
        ] {
            assert_eq!(ToFront::decode(&message.encode()), Some(message));
        }
        for message in [
            FromFront::Serving,
            FromFront::Cleared(child),
            FromFront::Drained,
            FromFront::Corrupt(child),
        ] {
            assert_eq!(FromFront::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            &[][..],
            &[1],
            &[9, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 1],
        ] {
            assert_eq!(ToFront::decode(bytes), None);
            assert_eq!(FromFront::decode(bytes), None);
        }
    }
}
