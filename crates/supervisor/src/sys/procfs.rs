//! Reads `/proc`; no other file does.

use std::fmt::Display;
use std::fs;

use nix::unistd::Pid;

/// The line of `/proc/PID/stat`, of a process or a thread.
#[derive(Debug)]
pub struct Stat(String);

impl Stat {
    /// The line of a process by its id, or of `self`; `None` when there is none.
    #[must_use]
    pub fn of(process: impl Display) -> Option<Self> {
        let line = fs::read(format!("/proc/{process}/stat")).ok()?;
        // The name may not be UTF-8.
        Some(Self(String::from_utf8_lossy(&line).into_owned()))
    }

    /// A field by its number in proc(5), from 3 on: field 2 is the name in parentheses, which may contain anything.
    #[must_use]
    pub fn field(&self, number: usize) -> Option<&str> {
        let (_, rest) = self.0.rsplit_once(')')?;
        rest.split_ascii_whitespace().nth(number.checked_sub(3)?)
    }
}

/// The memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Private memory, and its proportional part of shared memory (PSS).
    pub proportional: u64,
    /// Private memory.
    pub private: u64,
}

impl Memory {
    /// The memory of a process; `None` when it has gone, or the kernel does not report it.
    #[must_use]
    pub fn of(process: u32) -> Option<Self> {
        Self::read(&fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?)
    }

    fn read(text: &str) -> Option<Self> {
        let huge = bytes(text, "Private_Hugetlb:").unwrap_or_default();
        Some(Self {
            proportional: bytes(text, "Pss:")?,
            private: bytes(text, "Private_Clean:")? + bytes(text, "Private_Dirty:")? + huge,
        })
    }
}

/// The memory of this machine in bytes.
pub(crate) fn machine() -> Option<u64> {
    bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The control groups of this process, a line for each hierarchy.
pub(crate) fn groups() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// The parent of a process.
pub(crate) fn parent_of(pid: Pid) -> Option<Pid> {
    let parent = Stat::of(pid)?.field(4)?.parse().ok()?;
    (parent > 0).then(|| Pid::from_raw(parent))
}

/// The number of threads of this process; `None` without `/proc`.
#[must_use]
pub fn threads() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}

/// The bytes of a field that is given in kB.
fn bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_after_any_name() {
        let stat = Stat("7 (a) b) S 1 2".to_owned());
        assert_eq!(stat.field(3), Some("S"));
        assert_eq!(stat.field(4), Some("1"));
        assert_eq!(stat.field(6), None);
        assert_eq!(stat.field(2), None);
        assert_eq!(Stat("7 (a".to_owned()).field(3), None);
    }

    #[test]
    fn the_memory_of_a_process_is_read() {
        let text = "00400000-7fff [rollup]\nRss: 5000 kB\nPss:                1000 kB\nPss_Dirty: 7 kB\n\
                    Private_Clean:         8 kB\nPrivate_Dirty:       200 kB\n";
        let taken = Memory {
            proportional: 1000 << 10,
            private: 208 << 10,
        };
        assert_eq!(Memory::read(text), Some(taken));
        let huge = format!("{text}Private_Hugetlb: 2048 kB\n");
        let private = taken.private + (2 << 20);
        assert_eq!(Memory::read(&huge), Some(Memory { private, ..taken }));
        assert_eq!(Memory::read("Pss: many"), None);
        let own = Memory::of(std::process::id()).unwrap();
        assert!(own.private > 0 && own.proportional >= own.private);
    }
}
