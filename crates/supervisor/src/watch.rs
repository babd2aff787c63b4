//! Files whose change asks for a reload: heard of by inotify, since the supervisor has one thread and does not look
//! again and again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// What happens to a file that is written, touched, or replaced by another.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_MOVED_TO);

/// Watches over files. It is their folders that are watched: a file that is replaced by another is not the same file any
/// more, and one that is not there yet can be waited for.
#[derive(Debug)]
pub(crate) struct Watcher {
    inotify: Inotify,
    folders: HashMap<WatchDescriptor, PathBuf>,
    watched: HashSet<PathBuf>,
    files: HashMap<PathBuf, Option<Stamp>>,
}

/// By what a changed file is told from the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Watcher {
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            folders: HashMap::new(),
            watched: HashSet::new(),
            files: HashMap::new(),
        })
    }

    /// Watches over a file from now on, whether it is there or not.
    ///
    /// # Errors
    /// When its folder is not there, or the kernel has no more watches.
    pub(crate) fn add(&mut self, file: &Path) -> nix::Result<()> {
        if self.files.contains_key(file) {
            return Ok(());
        }
        let folder = file.parent().unwrap_or(file);
        if !self.watched.contains(folder) {
            let watch = self.inotify.add_watch(folder, CHANGES)?;
            self.folders.insert(watch, folder.to_owned());
            self.watched.insert(folder.to_owned());
        }
        self.files.insert(file.to_owned(), Stamp::of(file));
        Ok(())
    }

    /// The files that have changed since the last time.
    pub(crate) fn changed(&mut self) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    // The folder is gone; if it comes again, the next generation has it watched again.
                    if let Some(folder) = self.folders.remove(&event.wd) {
                        self.files.retain(|file, _| file.parent() != Some(&folder));
                        self.watched.remove(&folder);
                    }
                    continue;
                }
                let (Some(folder), Some(name)) = (self.folders.get(&event.wd), event.name) else {
                    continue;
                };
                let file = folder.join(name);
                let Some(stamp) = self.files.get_mut(&file) else {
                    continue;
                };
                let now = Stamp::of(&file);
                // Attributes change also when nobody has touched the file, and each change is told more than once.
                if std::mem::replace(stamp, now) != now && now.is_some() {
                    changed.push(file);
                }
            }
        }
        changed.dedup();
        changed
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        Some(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_file_that_is_written_touched_made_or_replaced_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let [written, other, later] =
            ["written", "other", "later"].map(|name| folder.path().join(name));
        fs::write(&written, "1").unwrap();
        fs::write(&other, "1").unwrap();
        let mut watcher = Watcher::new().unwrap();
        for file in [&written, &later] {
            watcher.add(file).unwrap();
        }
        assert!(watcher.changed().is_empty());
        fs::write(&other, "2").unwrap();
        assert!(watcher.changed().is_empty(), "nobody watches this one");
        fs::write(&written, "22").unwrap();
        assert_eq!(watcher.changed(), [written.as_path()]);
        assert!(watcher.changed().is_empty());
        let touched = SystemTime::now() + Duration::from_secs(5);
        let file = fs::File::options().append(true).open(&written).unwrap();
        file.set_modified(touched).unwrap();
        assert_eq!(watcher.changed(), [written.as_path()]);
        fs::rename(&other, &written).unwrap();
        assert_eq!(watcher.changed(), [written.as_path()]);
        fs::write(&later, "").unwrap();
        assert_eq!(watcher.changed(), [later.as_path()]);
        fs::remove_file(&later).unwrap();
        assert!(watcher.changed().is_empty());
    }

    #[test]
    fn a_folder_that_is_not_there_cannot_be_watched() {
        let mut watcher = Watcher::new().unwrap();
        let file = Path::new("/nowhere/file");
        assert!(watcher.add(file).is_err());
    }
}
