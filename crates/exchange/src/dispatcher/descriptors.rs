//! Reading the channel of descriptors. All children have the same socket, so any of them can name any request: a message
//! counts when the process that has sent it, as the kernel tells, is the child which has taken the request.

use std::io;

use super::{Dispatcher, Sink};
use crate::fd_channel::{Content, FdMessage};
use crate::ids::{ChildId, RequestId};

/// The most messages read in one call: more than the socket holds, unless it is filled again meanwhile.
const MOST_MESSAGES: u32 = 1024;

/// A message that was dropped: the process that has sent it is not the child which has the request.
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
    /// From now on the messages of this process are the child's. The number must come from the kernel.
    pub fn born(&mut self, child: ChildId, process: u32) {
        if let Some(place) = self.born.get_mut(usize::from(child.slot)) {
            *place = Some((child, process));
        }
    }

    /// Passes the messages on the channel of descriptors to `sink`. `Ok` when some may be left.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is left.
    pub fn read_fd_channel(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        for _ in 0..MOST_MESSAGES {
            let Some(FdMessage { content, process }) = self.exchange.fd_message()? else {
                continue;
            };
            let request_id = match &content {
                Content::WantBody(wanted) => wanted.request_id,
                Content::FileAnswer(request_id, _) => *request_id,
            };
            // The request has ended: the descriptor that came with the message is closed.
            if !self.holds(request_id) {
                continue;
            }
            let mut checked = self.check_sender(request_id, process);
            if checked.is_err() {
                // The supervisor sends `Born` before the child may take requests; it may not have been read yet.
                for (child, process) in sink.births() {
                    self.born(child, process);
                }
                checked = self.check_sender(request_id, process);
            }
            match (checked, content) {
                (Ok(()), Content::WantBody(wanted)) => sink.body_wanted(wanted),
                (Ok(()), Content::FileAnswer(request_id, extent)) => {
                    sink.file_given(request_id, extent)
                }
                (Err(refused), _) => sink.refused(refused),
            }
        }
        Ok(())
    }

    fn check_sender(&mut self, request_id: RequestId, process: u32) -> Result<(), Refused> {
        let owner = self.owner(request_id).map(|owner| owner.child);
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

    /// Removes the process of a child that is gone.
    pub(super) fn forget_process(&mut self, child: ChildId) {
        if let Some(place) = self.born.get_mut(usize::from(child.slot)) {
            place.take_if(|(known, _)| *known == child);
        }
    }
}
