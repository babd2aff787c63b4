//! What threads leave at the desk. All children have the same socket, so any of them can name any request: a note counts when
//! the process that has sent it, as the kernel says, is that of the child which has taken the request.

use std::io;

use super::{Dispatcher, Sink};
use crate::desk::{Note, Says};
use crate::ids::{ChildId, Ticket};

/// Notes that are read before others have their turn: more than the desk holds, unless it is flooded.
const MOST_NOTES: u32 = 1024;

/// A note that was dropped: the process that has sent it is not that of the child which has the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The process.
    pub process: u32,
    /// The child that the process is, if it is one.
    pub child: Option<ChildId>,
    /// The child that has the request, if one has.
    pub owner: Option<ChildId>,
}

impl Dispatcher {
    /// From now on the notes of this process are the child's. To be said by somebody who knows from the kernel.
    pub fn born(&mut self, child: ChildId, process: u32) {
        if let Some(place) = self.born.get_mut(usize::from(child.slot)) {
            *place = Some((child, process));
        }
    }

    /// Hands on what lies at the desk. `Ok` when some may be left.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is left.
    pub fn clear_desk(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        for _ in 0..MOST_NOTES {
            let Some(Note { says, process }) = self.exchange.note()? else {
                continue;
            };
            let ticket = match &says {
                Says::Asked(asked) => asked.ticket,
                Says::Given(ticket, _) => *ticket,
            };
            // Nobody waits for the answer: what came with the note is closed.
            if !self.holds(ticket) {
                continue;
            }
            let mut checked = self.check_sender(ticket, process);
            if checked.is_err() {
                // The birth was told before the child took its first request, and may not have been heard.
                for (child, process) in sink.births() {
                    self.born(child, process);
                }
                checked = self.check_sender(ticket, process);
            }
            match (checked, says) {
                (Ok(()), Says::Asked(asked)) => sink.asked(asked),
                (Ok(()), Says::Given(ticket, extent)) => sink.given(ticket, extent),
                (Err(refused), _) => sink.refused(refused),
            }
        }
        Ok(())
    }

    fn check_sender(&mut self, ticket: Ticket, process: u32) -> Result<(), Refused> {
        let owner = self.owner(ticket).map(|owner| owner.child);
        if let Some(child) = owner
            && self.born[usize::from(child.slot)] == Some((child, process))
        {
            return Ok(());
        }
        let mut born = self.born.iter().flatten();
        let child = born.find(|(_, number)| *number == process);
        Err(Refused {
            process,
            child: child.map(|(child, _)| *child),
            owner,
        })
    }

    /// The process of a child that is gone is nobody's any more.
    pub(super) fn forget_process(&mut self, child: ChildId) {
        if let Some(place) = self.born.get_mut(usize::from(child.slot)) {
            place.take_if(|(known, _)| *known == child);
        }
    }
}
