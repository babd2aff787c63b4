//! Paths that refer to a descriptor of this process.

use std::path::Path;

/// The maximum of links in a chain.
const LINKS: usize = 16;

/// The descriptor to which a path refers, directly or by links: `/dev/stdout`, `/dev/fd/3`, `/proc/self/fd/3`.
///
/// Opening such a path differs from using the descriptor: it fails for a socket, and for another user's pipe.
pub(crate) fn named(path: &Path) -> Option<i32> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if let Some(number) = number(&path) {
            return Some(number);
        }
        let link = std::fs::read_link(&path).ok()?;
        path = match path.parent() {
            Some(folder) => folder.join(link),
            None => link,
        };
    }
    None
}

fn number(path: &Path) -> Option<i32> {
    match path.to_str()? {
        "/dev/stdout" => return Some(1),
        "/dev/stderr" => return Some(2),
        _ => {}
    }
    let own = format!("/proc/{}/fd", std::process::id());
    let folders = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd", &own];
    let folder = path.parent()?;
    let name = path.file_name()?.to_str()?;
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let is_one = is_number && folders.iter().any(|own| folder == Path::new(own));
    is_one.then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_found_by_its_names_and_through_links() {
        for (path, expected) in [
            ("/dev/stdout", Some(1)),
            ("/dev/stderr", Some(2)),
            ("/dev/fd/7", Some(7)),
            ("/proc/self/fd/12", Some(12)),
            ("/dev/fd/x", None),
            ("/dev/fd/99999999999", None),
            ("/dev/null", None),
            ("/var/log/1", None),
        ] {
            assert_eq!(named(Path::new(path)), expected, "{path}");
        }
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let link =
            |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
        link("/dev/stdout", "access.log");
        link("access.log", "second.log");
        link("loop", "loop");
        let found = [
            named(&folder.join("second.log")),
            named(&folder.join("loop")),
        ];
        assert_eq!(found, [Some(1), None]);
    }
}
