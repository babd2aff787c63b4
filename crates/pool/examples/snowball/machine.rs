//! The machine: cores and memory, and how it slows down when it has too little of them.

pub(crate) const MIB: u64 = 1024;

/// Memory of the system and the server without children, in KiB.
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

    /// Whether memory and swap are used up: the kernel kills a process.
    pub(crate) fn is_out_of_memory(&self, used: u64) -> bool {
        used > self.memory + self.swap
    }
}
