//! The machine: cores, memory, and what becomes of both when there is too much to do.

pub(crate) const MIB: u64 = 1024;

/// What the system and the server need besides the children, in KiB.
pub(crate) const SYSTEM: u64 = 100 * MIB;

/// How much slower everything is for each part of memory that is missing: with a tenth too little, three times as slow.
const THRASHING: u64 = 20;

/// A machine. Memory in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: u16,
    pub(crate) memory: u64,
    swap: u64,
}

impl Machine {
    /// One of two cores.
    pub(crate) fn new(memory: u64, swap: u64) -> Self {
        Self {
            cores: 2,
            memory,
            swap,
        }
    }

    /// What each of so many processes gets of `time`: an equal share, less what paging takes.
    pub(crate) fn share(&self, time: u64, processes: u64, used: u64) -> u64 {
        let cores = u64::from(self.cores);
        let fair = time * cores / processes.max(cores);
        let missing = used.saturating_sub(self.memory);
        fair * self.memory / (self.memory + THRASHING * missing)
    }

    /// There is no room any more: the kernel kills a process.
    pub(crate) fn is_out_of_memory(&self, used: u64) -> bool {
        used > self.memory + self.swap
    }
}
