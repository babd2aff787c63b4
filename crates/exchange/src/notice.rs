//! The messages between the supervisor and the front: eight bytes each.

use crate::ids::ChildId;

/// The length of every message.
pub const LEN: usize = 8;

/// From the supervisor to the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToFront {
    /// The child is the process with this number, which comes from the kernel: messages on the channel of descriptors are
    /// checked against it. Sent before the child may take requests.
    Born(ChildId, u32),
    /// The child has been reaped: its requests are to be given up and its places cleared, then [`FromFront::Cleared`] is due.
    Gone(ChildId),
    /// The server is about to stop: go on serving, and close each connection after its next answer.
    Close,
    /// Accept no connection, finish the open ones, then send [`FromFront::Drained`].
    Drain,
    /// Reopen the log files, after they were rotated.
    Reopen,
}

/// From the front to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromFront {
    /// Connections are accepted from now on.
    Serving,
    /// Nothing of that child is left in the exchange: its slot may have the next incarnation.
    Cleared(ChildId),
    /// Every connection has ended.
    Drained,
    /// The child wrote malformed data into the exchange: it must be killed.
    Corrupt(ChildId),
}

impl ToFront {
    /// The message as bytes.
    #[must_use]
    pub fn encode(self) -> [u8; LEN] {
        match self {
            Self::Gone(child) => pack(1, Some(child), 0),
            Self::Drain => pack(2, None, 0),
            Self::Reopen => pack(3, None, 0),
            Self::Close => pack(4, None, 0),
            Self::Born(child, process) => pack(5, Some(child), process),
        }
    }

    /// The message, or `None` when these bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match unpack(bytes)? {
            (1, child, 0) => Some(Self::Gone(child)),
            (2, _, 0) => Some(Self::Drain),
            (3, _, 0) => Some(Self::Reopen),
            (4, _, 0) => Some(Self::Close),
            (5, child, process) => Some(Self::Born(child, process)),
            _ => None,
        }
    }
}

impl FromFront {
    /// The message as bytes.
    #[must_use]
    pub fn encode(self) -> [u8; LEN] {
        match self {
            Self::Serving => pack(1, None, 0),
            Self::Cleared(child) => pack(2, Some(child), 0),
            Self::Drained => pack(3, None, 0),
            Self::Corrupt(child) => pack(4, Some(child), 0),
        }
    }

    /// The message, or `None` when these bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match unpack(bytes)? {
            (1, _, 0) => Some(Self::Serving),
            (2, child, 0) => Some(Self::Cleared(child)),
            (3, _, 0) => Some(Self::Drained),
            (4, child, 0) => Some(Self::Corrupt(child)),
            _ => None,
        }
    }
}

fn pack(kind: u8, child: Option<ChildId>, process: u32) -> [u8; LEN] {
    let child = child.unwrap_or(ChildId {
        slot: 0,
        incarnation: 0,
    });
    let [low, high] = child.slot.to_le_bytes();
    let [a, b, c, d] = process.to_le_bytes();
    [kind, child.incarnation, low, high, a, b, c, d]
}

fn unpack(bytes: &[u8]) -> Option<(u8, ChildId, u32)> {
    let &[kind, incarnation, low, high, a, b, c, d] = bytes else {
        return None;
    };
    let slot = u16::from_le_bytes([low, high]);
    let process = u32::from_le_bytes([a, b, c, d]);
    Some((kind, ChildId { slot, incarnation }, process))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_decoded_as_it_was_encoded() {
        let child = ChildId {
            slot: 513,
            incarnation: 200,
        };
        for message in [
            ToFront::Born(child, 4_194_303),
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
    fn malformed_messages_are_refused() {
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
