//! Watches files for a reload by inotify, because the supervisor has one thread and does not poll.
//!
//! inotify reports on folders, not on paths: which name in a folder has changed, or that the folder itself was
//! moved. So each folder on the way to a file is watched, and each folder that contains a link on the way; when the
//! way has changed, it is followed anew. A folder that is watched with its content has a watch in each subfolder.

mod include;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

pub use include::Include;
pub(crate) use include::Target;
use include::is_aside;

/// The folder itself was replaced.
const ITSELF: AddWatchFlags = AddWatchFlags::IN_MOVE_SELF.union(AddWatchFlags::IN_DELETE_SELF);

/// A name refers to another file.
const NAMES: AddWatchFlags = AddWatchFlags::IN_CREATE.union(AddWatchFlags::IN_MOVED_TO);

/// A file was written, touched or replaced.
const FILES: AddWatchFlags = NAMES
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_ATTRIB);

/// Any change in a folder.
const ALL: AddWatchFlags = FILES
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM);

/// Extends an existing watch of the same folder. Only folders, and no links.
const MORE: AddWatchFlags = AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(AddWatchFlags::IN_DONT_FOLLOW);

/// The maximum of subfolders of targets that are watched with their content: each needs a watch and must be read.
/// Beyond that, one warning is logged.
pub(crate) const MOST_FOLDERS: usize = 10_000;

/// The kernel's limit of links in a path.
const MOST_LINKS: usize = 40;

/// The maximum of reads at once, so that a file that is written all the time does not block the supervisor.
const MOST_READS: usize = 64;

/// Watches files.
#[derive(Debug)]
pub(crate) struct Watcher {
    inotify: Inotify,
    watches: HashMap<WatchDescriptor, Watch>,
    watched: Vec<Watched>,
    /// Folders visited since the last full pass, with the target of each name.
    resolved: HashMap<PathBuf, Option<PathBuf>>,
    /// The number of folders that are watched with their content.
    folders: usize,
    pending: Vec<PathBuf>,
    problems: Vec<Problem>,
    reported: Vec<Problem>,
}

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// These files, as far as they are known.
    pub(crate) files: Vec<PathBuf>,
    /// The kernel has dropped events.
    pub(crate) lost: bool,
}

/// Why something is not watched. Each is reported once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The kernel has refused the watch.
    Refused(PathBuf, Errno),
    /// The kernel's limit of watches per user is reached.
    Limit,
    /// There are more than [`MOST_FOLDERS`] subfolders.
    TooMany(PathBuf),
}

/// A watched target, and its state at the last check.
#[derive(Debug)]
struct Watched {
    target: Target,
    stamp: Option<Stamp>,
}

/// What a watch is for; targets are given by their index.
#[derive(Debug, Default)]
struct Watch {
    /// Names that are part of the way to a target.
    ways: HashSet<OsString>,
    /// Files that are watched.
    files: HashMap<OsString, Vec<usize>>,
    /// The folder is watched with its content: target, name, and depth below the target.
    whole: Vec<(usize, PathBuf, usize)>,
}

/// The properties by which a changed file is detected.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    /// Its path, with all links resolved.
    path: PathBuf,
    device: u64,
    inode: u64,
    /// 0 for a folder: changes in it are reported by events.
    length: u64,
    modified: (i64, i64),
}

impl Watcher {
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            watches: HashMap::new(),
            watched: Vec::new(),
            resolved: HashMap::new(),
            folders: 0,
            pending: Vec::new(),
            problems: Vec::new(),
            reported: Vec::new(),
        })
    }

    /// Watches exactly these targets. Targets that were watched before are compared with their former state.
    pub(crate) fn set(&mut self, targets: Vec<Target>) {
        let mut stamps: HashMap<Target, Option<Stamp>> = self
            .watched
            .drain(..)
            .map(|watched| (watched.target, watched.stamp))
            .collect();
        let mut new = Vec::new();
        for target in targets {
            let stamp = stamps.remove(&target);
            if stamp.is_none() {
                new.push(self.watched.len());
            }
            let stamp = stamp.flatten();
            self.watched.push(Watched { target, stamp });
        }
        let changed = self.follow_all(&new);
        self.pending.extend(changed);
    }

    /// Watches these targets as well. Files written after `since` count as changed.
    pub(crate) fn add(
        &mut self,
        targets: impl IntoIterator<Item = Target>,
        since: Option<SystemTime>,
    ) {
        for target in targets {
            let index = self.watched.len();
            self.watched.push(Watched {
                target,
                stamp: None,
            });
            self.follow(index, true);
            let Watched { target, stamp } = &self.watched[index];
            if let (Some(since), Some(stamp)) = (since, stamp)
                && stamp.is_from(since)
            {
                self.pending.push(target.root().to_owned());
            }
        }
    }

    /// The changes since the last call.
    pub(crate) fn changed(&mut self) -> Changed {
        let mut received = Received::default();
        for _ in 0..MOST_READS {
            let Ok(events) = self.inotify.read_events() else {
                break;
            };
            for event in events {
                self.handle_event(event, &mut received);
            }
        }
        let mut files = std::mem::take(&mut self.pending);
        files.append(&mut received.files);
        if received.ways {
            files.append(&mut self.follow_all(&[]));
        } else {
            for index in received.dirty {
                files.extend(self.compare(index));
            }
        }
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        Changed {
            files,
            lost: received.lost,
        }
    }

    /// The problems that have not been reported yet.
    pub(crate) fn problems(&mut self) -> Vec<Problem> {
        let mut problems = std::mem::take(&mut self.problems);
        problems.retain(|problem| {
            let is_new = !self.reported.contains(problem);
            if is_new {
                self.reported.push(problem.clone());
            }
            is_new
        });
        problems
    }

    fn handle_event(&self, event: InotifyEvent, received: &mut Received) {
        let mask = event.mask;
        if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            (received.lost, received.ways) = (true, true);
            return;
        }
        // An unknown watch was removed, and the kernel confirms it.
        let Some(watch) = self.watches.get(&event.wd) else {
            return;
        };
        let Some(name) = event.name else {
            // The end of the folder, or of its file system.
            received.ways |=
                mask.intersects(ITSELF | AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_UNMOUNT);
            // A folder that is a target and watched with its content can itself be touched.
            let touched = mask.intersects(AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MODIFY);
            for (index, folder, depth) in watch.whole.iter().filter(|_| touched) {
                if *depth == 0 && matches!(self.watched[*index].target, Target::Path(_)) {
                    received.files.push(folder.clone());
                }
            }
            return;
        };
        let is_new = mask.intersects(NAMES);
        received.ways |= is_new && watch.ways.contains(&name);
        if let Some(files) = watch.files.get(&name) {
            received.dirty.extend(files);
            // A link may have been created in its place.
            received.ways |= is_new;
        }
        if is_aside(&name) {
            return;
        }
        let is_folder = mask.contains(AddWatchFlags::IN_ISDIR);
        for (index, folder, depth) in &watch.whole {
            let path = folder.join(&name);
            let target = &self.watched[*index].target;
            received.ways |= is_folder && is_new && target.reaches(&path, depth + 1);
            let whole = matches!(target, Target::Path(_));
            if target.counts(&path) && (whole || !is_folder) {
                received.files.push(path);
            }
        }
    }

    /// Compares one file with its former state, and returns it if it has changed.
    fn compare(&mut self, index: usize) -> Option<PathBuf> {
        let watched = &mut self.watched[index];
        let before = watched.stamp.take()?;
        let now = fs::metadata(&before.path)
            .ok()
            .map(|metadata| Stamp::of(before.path.clone(), &metadata));
        let changed = now.is_some() && now.as_ref() != Some(&before);
        // A file that has gone may come back.
        watched.stamp = now;
        changed.then(|| watched.target.root().to_owned())
    }

    /// Follows all ways again, and removes unused watches. Returns the changes; the targets `new` are checked for
    /// the first time.
    fn follow_all(&mut self, new: &[usize]) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        let before = std::mem::take(&mut self.watches);
        let known: HashSet<PathBuf> = before
            .values()
            .flat_map(|watch| &watch.whole)
            .map(|(_, folder, _)| folder.clone())
            .collect();
        self.resolved.clear();
        self.folders = 0;
        for index in 0..self.watched.len() {
            let is_new = new.contains(&index);
            if self.follow(index, is_new) {
                changed.push(self.watched[index].target.root().to_owned());
            }
            if !is_new {
                changed.extend(self.found_in_new_folders(index, &known));
            }
        }
        for watch in before.into_keys() {
            if !self.watches.contains_key(&watch) {
                // The kernel removes the watch of a folder that has gone.
                let _ = self.inotify.rm_watch(watch);
            }
        }
        changed
    }

    /// Files may have been created in a folder before it was watched.
    fn found_in_new_folders(&self, index: usize, known: &HashSet<PathBuf>) -> Option<PathBuf> {
        let target = &self.watched[index].target;
        if matches!(target, Target::Path(_)) {
            return None;
        }
        let whole = self.watches.values().flat_map(|watch| &watch.whole);
        let new = whole.filter(|(owner, folder, _)| *owner == index && !known.contains(folder));
        let entries = new.flat_map(|(_, folder, _)| fs::read_dir(folder).into_iter().flatten());
        let mut files = entries.flatten().map(|entry| entry.path());
        files.find(|file| target.counts(file) && !file.is_dir())
    }

    /// Follows the way to a target, with watches wherever it may change, and checks it. Returns whether it is
    /// another file than before.
    fn follow(&mut self, index: usize, is_new: bool) -> bool {
        let root = self.watched[index].target.root().to_owned();
        let (found, metadata) = match self.resolve(&root) {
            Some((path, metadata)) => (Some(path), Some(metadata)),
            None => (None, None),
        };
        let stamp = found
            .zip(metadata)
            .map(|(path, metadata)| (Stamp::of(path, &metadata), metadata.is_dir()));
        if let Some((stamp, is_folder)) = &stamp {
            if *is_folder {
                self.watch_whole(index, &stamp.path.clone(), &root, 0);
            } else if let Some((folder, name)) = parent_and_name(&stamp.path)
                && let Some(watch) = self.watch(folder, FILES)
            {
                let files = watch.files.entry(name.to_owned()).or_default();
                if !files.contains(&index) {
                    files.push(index);
                }
            }
        }
        let stamp = stamp.map(|(stamp, _)| stamp);
        let watched = &mut self.watched[index];
        // A pattern's folder that has just appeared may already contain files.
        let was_there =
            watched.stamp.is_some() || !matches!(watched.target, Target::Matching { .. });
        let changed = !is_new && was_there && stamp.is_some() && watched.stamp != stamp;
        watched.stamp = stamp;
        changed
    }

    /// Resolves a path. If it does not exist, its first missing part is awaited in the last existing folder.
    fn resolve(&mut self, path: &Path) -> Option<(PathBuf, Metadata)> {
        // A folder mostly contains many modules.
        if let Some((folder, name)) = parent_and_name(path)
            && let Some(resolved) = self.resolved.get(folder)
        {
            let here = resolved.clone()?;
            return self.walk(here, VecDeque::from([name.to_owned()]));
        }
        if let Some(folder) = path.parent() {
            let resolved = self.walk(PathBuf::from("/"), parts(folder));
            let resolved = resolved
                .filter(|(_, metadata)| metadata.is_dir())
                .map(|(folder, _)| folder);
            self.resolved.insert(folder.to_owned(), resolved.clone());
            let name = path.components().next_back().map(one_part);
            return self.walk(resolved?, name.into_iter().flatten().collect());
        }
        self.walk(PathBuf::from("/"), parts(path))
    }

    fn walk(
        &mut self,
        mut here: PathBuf,
        mut rest: VecDeque<OsString>,
    ) -> Option<(PathBuf, Metadata)> {
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let mut found = fs::symlink_metadata(&next);
            if !found.as_ref().is_ok_and(|found| !found.is_symlink()) {
                // Watched first and then examined, so that no change in between is missed.
                if let Some(watch) = self.watch(&here, NAMES) {
                    watch.ways.insert(name.clone());
                }
                found = fs::symlink_metadata(&next);
            }
            let found = found.ok()?;
            if found.is_symlink() {
                links += 1;
                let target = fs::read_link(&next).ok().filter(|_| links <= MOST_LINKS)?;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
            } else if found.is_dir() {
                self.watch(&next, ITSELF);
                here = next;
            } else {
                return rest.is_empty().then_some((next, found));
            }
        }
        let metadata = fs::metadata(&here).ok()?;
        Some((here, metadata))
    }

    /// Watches a folder with all subfolders. `name` is its name in the target.
    fn watch_whole(&mut self, index: usize, folder: &Path, name: &Path, depth: usize) {
        let mut waiting = vec![(folder.to_owned(), name.to_owned(), depth)];
        while let Some((folder, name, depth)) = waiting.pop() {
            if self.folders >= MOST_FOLDERS {
                let root = self.watched[index].target.root().to_owned();
                self.problems.push(Problem::TooMany(root));
                return;
            }
            self.folders += 1;
            let Some(watch) = self.watch(&folder, ALL | ITSELF) else {
                continue;
            };
            watch.whole.push((index, name.clone(), depth));
            // Watched first and then read, so that nothing created in between is missed.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let below = name.join(entry.file_name());
                if entry.file_type().is_ok_and(|kind| kind.is_dir())
                    && !is_aside(&entry.file_name())
                    && self.watched[index].target.reaches(&below, depth + 1)
                {
                    waiting.push((entry.path(), below, depth + 1));
                }
            }
        }
    }

    /// Adds a watch for a folder.
    fn watch(&mut self, folder: &Path, what: AddWatchFlags) -> Option<&mut Watch> {
        match self.inotify.add_watch(folder, what | MORE) {
            Ok(watch) => Some(self.watches.entry(watch).or_default()),
            Err(errno) => {
                match errno {
                    Errno::ENOSPC => self.problems.push(Problem::Limit),
                    // It has just gone, or is accessible but not readable: then a change of it is unlikely.
                    Errno::ENOENT | Errno::ENOTDIR => {}
                    Errno::EACCES if what == ITSELF => {}
                    errno => self
                        .problems
                        .push(Problem::Refused(folder.to_owned(), errno)),
                }
                None
            }
        }
    }
}

/// The result of reading events.
#[derive(Debug, Default)]
struct Received {
    /// Targets to be checked.
    dirty: BTreeSet<usize>,
    /// Files that have definitely changed.
    files: Vec<PathBuf>,
    /// The way to a target has changed.
    ways: bool,
    lost: bool,
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Stamp {
    fn of(path: PathBuf, metadata: &Metadata) -> Self {
        let is_folder = metadata.is_dir();
        Self {
            path,
            device: metadata.dev(),
            inode: metadata.ino(),
            length: if is_folder { 0 } else { metadata.len() },
            modified: if is_folder {
                (0, 0)
            } else {
                (metadata.mtime(), metadata.mtime_nsec())
            },
        }
    }

    /// Whether it was written at this time or later. A time in the future proves nothing.
    fn is_from(&self, since: SystemTime) -> bool {
        let (seconds, nanos) = self.modified;
        let (Ok(seconds), Ok(nanos)) = (seconds.try_into(), nanos.try_into()) else {
            return false;
        };
        let modified = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        (since..=SystemTime::now()).contains(&modified)
    }
}

/// The components of a path, without the root and without `.`.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components().filter_map(one_part).collect()
}

fn one_part(part: Component<'_>) -> Option<OsString> {
    matches!(part, Component::Normal(_) | Component::ParentDir).then(|| part.as_os_str().to_owned())
}

fn parent_and_name(path: &Path) -> Option<(&Path, &OsStr)> {
    path.parent().zip(path.file_name())
}

/// The error for inotify's limits, or another one.
pub(crate) fn refusal(errno: Errno) -> io::Error {
    match errno {
        Errno::EMFILE => io::Error::other(
            "the user has no more of fs.inotify.max_user_instances, or the process no descriptor",
        ),
        errno => errno.into(),
    }
}

#[cfg(test)]
mod tests;
