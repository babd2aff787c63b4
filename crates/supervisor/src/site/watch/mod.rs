//! Files whose change asks for a reload: heard of by inotify, since the supervisor has one thread and does not look
//! again and again.
//!
//! The kernel tells of a folder and not of a path: it says which name in it has changed, or that the folder itself has
//! been moved. So each folder on the way to a file is watched, and each that holds a link on the way; when the way has
//! changed, it is gone anew. A folder with all that is in it has a watch in each folder below.

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

/// A folder on the way is another one from now on.
const ITSELF: AddWatchFlags = AddWatchFlags::IN_MOVE_SELF.union(AddWatchFlags::IN_DELETE_SELF);

/// A name leads to something else.
const NAMES: AddWatchFlags = AddWatchFlags::IN_CREATE.union(AddWatchFlags::IN_MOVED_TO);

/// What happens to a file that is written, touched, or replaced by another.
const FILES: AddWatchFlags = NAMES
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_ATTRIB);

/// What happens to anything in a folder.
const ALL: AddWatchFlags = FILES
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM);

/// Adds to what the same folder is watched for already. Only folders, and no links.
const MORE: AddWatchFlags = AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(AddWatchFlags::IN_DONT_FOLLOW);

/// As many folders below those that are watched as a whole: each is a watch and has to be read. Beyond, one warning.
pub(crate) const MOST_FOLDERS: usize = 10_000;

/// As many links in a path as the kernel follows.
const MOST_LINKS: usize = 40;

/// As often as events are read in one go, so that a file that is written all the time does not keep the supervisor.
const MOST_READS: usize = 64;

/// Watches over files.
#[derive(Debug)]
pub(crate) struct Watcher {
    inotify: Inotify,
    watches: HashMap<WatchDescriptor, Watch>,
    watched: Vec<Watched>,
    /// Folders that have been gone to since the last time that all was gone over: where each name has led.
    led: HashMap<PathBuf, Option<PathBuf>>,
    /// Folders that are watched as a whole.
    folders: usize,
    pending: Vec<PathBuf>,
    problems: Vec<Problem>,
    told: Vec<Problem>,
}

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// These files, as far as they can be told.
    pub(crate) files: Vec<PathBuf>,
    /// The kernel could not tell all.
    pub(crate) lost: bool,
}

/// Something is not watched. Each is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The kernel refuses it.
    Refused(PathBuf, Errno),
    /// The user has as many watches as the kernel allows.
    Limit,
    /// There are more than [`MOST_FOLDERS`] folders in what is watched as a whole.
    TooMany(PathBuf),
}

/// What is watched, and how it was when it was last looked at.
#[derive(Debug)]
struct Watched {
    target: Target,
    stamp: Option<Stamp>,
}

/// Whom a watched folder concerns; by the place in the list of what is watched.
#[derive(Debug, Default)]
struct Watch {
    /// Names on the way to something.
    ways: HashSet<OsString>,
    /// Files that are watched.
    files: HashMap<OsString, Vec<usize>>,
    /// It is watched as a whole, by this name, so many folders below the one that was asked for.
    whole: Vec<(usize, PathBuf, usize)>,
}

/// By what a changed file is told from the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    /// Where it is, all links followed.
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Of a folder not: what happens in it is heard.
    length: u64,
    modified: (i64, i64),
}

impl Watcher {
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            watches: HashMap::new(),
            watched: Vec::new(),
            led: HashMap::new(),
            folders: 0,
            pending: Vec::new(),
            problems: Vec::new(),
            told: Vec::new(),
        })
    }

    /// Watches over these from now on, and over nothing else. What was watched before is still compared with what it was.
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
        let changed = self.go_over(&new);
        self.pending.extend(changed);
    }

    /// Watches over these as well. What has been written `since` has changed already.
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
            self.go_to(index, true);
            let Watched { target, stamp } = &self.watched[index];
            if let (Some(since), Some(stamp)) = (since, stamp)
                && stamp.is_from(since)
            {
                self.pending.push(target.root().to_owned());
            }
        }
    }

    /// What has changed since the last time.
    pub(crate) fn changed(&mut self) -> Changed {
        let mut heard = Received::default();
        for _ in 0..MOST_READS {
            let Ok(events) = self.inotify.read_events() else {
                break;
            };
            for event in events {
                self.hear(event, &mut heard);
            }
        }
        let mut files = std::mem::take(&mut self.pending);
        files.append(&mut heard.files);
        if heard.ways {
            files.append(&mut self.go_over(&[]));
        } else {
            for index in heard.dirty {
                files.extend(self.compare(index));
            }
        }
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        Changed {
            files,
            lost: heard.lost,
        }
    }

    /// What is not watched, and has not been told yet.
    pub(crate) fn problems(&mut self) -> Vec<Problem> {
        let mut problems = std::mem::take(&mut self.problems);
        problems.retain(|problem| {
            let is_new = !self.told.contains(problem);
            if is_new {
                self.told.push(problem.clone());
            }
            is_new
        });
        problems
    }

    fn hear(&self, event: InotifyEvent, heard: &mut Received) {
        let mask = event.mask;
        if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            (heard.lost, heard.ways) = (true, true);
            return;
        }
        // One that is not known has been given up, and the kernel confirms it.
        let Some(watch) = self.watches.get(&event.wd) else {
            return;
        };
        let Some(name) = event.name else {
            // Its own end, or that of its file system.
            heard.ways |=
                mask.intersects(ITSELF | AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_UNMOUNT);
            // A folder that is named and watched as a whole can be touched itself.
            let touched = mask.intersects(AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MODIFY);
            for (index, folder, depth) in watch.whole.iter().filter(|_| touched) {
                if *depth == 0 && matches!(self.watched[*index].target, Target::Path(_)) {
                    heard.files.push(folder.clone());
                }
            }
            return;
        };
        let is_new = mask.intersects(NAMES);
        heard.ways |= is_new && watch.ways.contains(&name);
        if let Some(files) = watch.files.get(&name) {
            heard.dirty.extend(files);
            // A link may be in its place.
            heard.ways |= is_new;
        }
        if is_aside(&name) {
            return;
        }
        let is_folder = mask.contains(AddWatchFlags::IN_ISDIR);
        for (index, folder, depth) in &watch.whole {
            let path = folder.join(&name);
            let target = &self.watched[*index].target;
            heard.ways |= is_folder && is_new && target.reaches(&path, depth + 1);
            let whole = matches!(target, Target::Path(_));
            if target.counts(&path) && (whole || !is_folder) {
                heard.files.push(path);
            }
        }
    }

    /// Looks at one file, and says whether it has changed.
    fn compare(&mut self, index: usize) -> Option<PathBuf> {
        let watched = &mut self.watched[index];
        let before = watched.stamp.take()?;
        let now = fs::metadata(&before.path)
            .ok()
            .map(|metadata| Stamp::of(before.path.clone(), &metadata));
        let changed = now.is_some() && now.as_ref() != Some(&before);
        // One that is gone is waited for.
        watched.stamp = now;
        changed.then(|| watched.target.root().to_owned())
    }

    /// Goes every way again, and lets go of the watches that are on none. Gives back what has changed; `new` is looked at
    /// for the first time.
    fn go_over(&mut self, new: &[usize]) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        let before = std::mem::take(&mut self.watches);
        let known: HashSet<PathBuf> = before
            .values()
            .flat_map(|watch| &watch.whole)
            .map(|(_, folder, _)| folder.clone())
            .collect();
        self.led.clear();
        self.folders = 0;
        for index in 0..self.watched.len() {
            let is_new = new.contains(&index);
            if self.go_to(index, is_new) {
                changed.push(self.watched[index].target.root().to_owned());
            }
            if !is_new {
                changed.extend(self.found_in_new_folders(index, &known));
            }
        }
        for watch in before.into_keys() {
            if !self.watches.contains_key(&watch) {
                // One whose folder is gone has been taken away by the kernel.
                let _ = self.inotify.rm_watch(watch);
            }
        }
        changed
    }

    /// Files may have been put into a folder before it was watched.
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

    /// Goes the way to what is watched, with a watch wherever it may change, and looks at it. Says whether it is another
    /// one than before.
    fn go_to(&mut self, index: usize, is_new: bool) -> bool {
        let root = self.watched[index].target.root().to_owned();
        let (found, metadata) = match self.lead(&root) {
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
        // A folder that comes to be there has the files of a pattern or not.
        let was_there =
            watched.stamp.is_some() || !matches!(watched.target, Target::Matching { .. });
        let changed = !is_new && was_there && stamp.is_some() && watched.stamp != stamp;
        watched.stamp = stamp;
        changed
    }

    /// Where a path leads to. Without a file or folder at its end, what is missing is waited for in the last folder that
    /// there is.
    fn lead(&mut self, path: &Path) -> Option<(PathBuf, Metadata)> {
        // Modules are many to a folder.
        if let Some((folder, name)) = parent_and_name(path)
            && let Some(led) = self.led.get(folder)
        {
            let here = led.clone()?;
            return self.walk(here, VecDeque::from([name.to_owned()]));
        }
        if let Some(folder) = path.parent() {
            let led = self.walk(PathBuf::from("/"), parts(folder));
            let led = led
                .filter(|(_, metadata)| metadata.is_dir())
                .map(|(folder, _)| folder);
            self.led.insert(folder.to_owned(), led.clone());
            let name = path.components().next_back().map(one_part);
            return self.walk(led?, name.into_iter().flatten().collect());
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
                // Watched first and then looked at: what happens between is heard.
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

    /// Watches a folder with all folders below. `name` is what it is called where it was asked for.
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
            // Watched first and then read: what is made between is heard.
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

    /// Has the kernel tell of a folder.
    fn watch(&mut self, folder: &Path, what: AddWatchFlags) -> Option<&mut Watch> {
        match self.inotify.add_watch(folder, what | MORE) {
            Ok(watch) => Some(self.watches.entry(watch).or_default()),
            Err(errno) => {
                match errno {
                    Errno::ENOSPC => self.problems.push(Problem::Limit),
                    // It has gone this moment, or one may go through it without reading it: it is hardly moved.
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

/// What events have told.
#[derive(Debug, Default)]
struct Received {
    /// Files to be looked at.
    dirty: BTreeSet<usize>,
    /// What has changed for certain.
    files: Vec<PathBuf>,
    /// The way to something has changed.
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

    /// It has been written at this time or later, but not in the future: that says nothing.
    fn is_from(&self, since: SystemTime) -> bool {
        let (seconds, nanos) = self.modified;
        let (Ok(seconds), Ok(nanos)) = (seconds.try_into(), nanos.try_into()) else {
            return false;
        };
        let modified = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        (since..=SystemTime::now()).contains(&modified)
    }
}

/// The parts of a path, without the root and without `.`.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components().filter_map(one_part).collect()
}

fn one_part(part: Component<'_>) -> Option<OsString> {
    matches!(part, Component::Normal(_) | Component::ParentDir).then(|| part.as_os_str().to_owned())
}

fn parent_and_name(path: &Path) -> Option<(&Path, &OsStr)> {
    path.parent().zip(path.file_name())
}

/// There is no room for one more [`Watcher`], or another reason.
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
