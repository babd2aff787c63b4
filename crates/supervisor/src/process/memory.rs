//! The available memory.

use std::fs;
use std::path::Path;

use crate::sys::procfs;

/// The bytes that this process and its children may use: the minimum of the limits of its control groups and the
/// machine's memory. `None` when the kernel does not report it.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    let total = procfs::machine()?;
    let groups = procfs::groups();
    Some(group_limit(Path::new("/sys/fs/cgroup"), &groups).map_or(total, |limit| limit.min(total)))
}

/// The lowest limit of the groups in `/proc/self/cgroup` and of their parents.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let (mount, file) = match controllers {
            // cgroup version 2 has a single hierarchy.
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        // In a container the path may be that of the host, while only the container's own groups are mounted.
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors()
            .filter_map(|group| fs::read_to_string(mount.join(group).join(file)).ok())
            .filter_map(|text| text.trim().parse().ok())
            .collect()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

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
