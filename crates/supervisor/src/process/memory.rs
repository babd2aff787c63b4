//! How much memory there is, and how much processes take.

use std::fs;
use std::path::Path;

use nix::unistd::Pid;

/// What a process takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Its own memory, and its part of what it shares.
    pub(crate) proportional: u64,
    /// What nobody else has.
    pub(crate) private: u64,
}

impl Taken {
    /// What a process takes now; nothing when it is gone, or the kernel does not say.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        Self::read(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
    }

    fn read(text: &str) -> Option<Self> {
        Some(Self {
            proportional: field(text, "Pss:")?,
            private: field(text, "Private_Clean:")? + field(text, "Private_Dirty:")?,
        })
    }
}

/// The bytes that this process and its like may use together: the least of the limits of its control groups and the
/// machine's memory. Nothing when the kernel does not say.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    let total = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(group_limit(Path::new("/sys/fs/cgroup"), &groups).map_or(total, |limit| limit.min(total)))
}

/// The least limit of the groups that `/proc/self/cgroup` names, and of those above them.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let (mount, file) = match controllers {
            // Version 2 has one hierarchy for everything.
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        // In a container the path may be that of the host, and only what is mounted there is ours.
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors()
            .filter_map(|group| fs::read_to_string(mount.join(group).join(file)).ok())
            .filter_map(|text| text.trim().parse().ok())
            .collect()
    });
    limits.min()
}

/// The bytes of a field that is told in kB.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::getpid;

    #[test]
    fn a_process_takes_what_the_kernel_says() {
        let text = "00400000-7fff [rollup]\nRss: 5000 kB\nPss:                1000 kB\nPss_Dirty: 7 kB\n\
                    Private_Clean:         8 kB\nPrivate_Dirty:       200 kB\n";
        let taken = Taken {
            proportional: 1000 << 10,
            private: 208 << 10,
        };
        assert_eq!(Taken::read(text), Some(taken));
        assert_eq!(Taken::read("Pss: many"), None);
        let own = Taken::of(getpid()).unwrap();
        assert!(own.private > 0 && own.proportional >= own.private);
    }

    #[test]
    fn the_least_limit_of_all_groups_above_holds() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("memory.max", "max\n");
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "2000\n");
        write("memory/c/memory.limit_in_bytes", "500\n");
        for (groups, limit) in [
            ("0::/a/b\n", Some(1000)),
            ("0::/\n", None),
            ("0::/../elsewhere\n", None),
            ("3:cpu,memory:/c\n0::/\n", Some(500)),
            ("3:cpu:/c\n", None),
            ("", None),
        ] {
            assert_eq!(group_limit(root.path(), groups), limit, "{groups}");
        }
        assert!(memory_limit().is_some());
    }
}
