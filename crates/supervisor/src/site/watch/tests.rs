//! Reported changes, with the real kernel.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;

/// A temporary folder.
struct Folder {
    /// Its path without links.
    top: PathBuf,
    _removed_at_the_end: TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            top: folder.path().canonicalize().unwrap(),
            _removed_at_the_end: folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    /// Writes a file, and creates its folders.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Atomically points a link to another target.
    fn turn(&self, link: &str, target: &str) -> PathBuf {
        let (next, path) = (self.path("next"), self.path(link));
        symlink(target, &next).unwrap();
        fs::rename(next, &path).unwrap();
        path
    }
}

fn watching(paths: &[&Path]) -> Watcher {
    let mut watcher = Watcher::new().unwrap();
    watcher.set(targets(paths));
    assert_eq!(watcher.problems(), []);
    assert_eq!(files(&mut watcher), [""; 0]);
    watcher
}

fn targets(paths: &[&Path]) -> Vec<Target> {
    let targets = paths.iter().map(|path| Target::Path(path.to_path_buf()));
    targets.collect()
}

/// The names of the changed files.
fn files(watcher: &mut Watcher) -> Vec<String> {
    let changed = watcher.changed();
    assert!(!changed.lost);
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    changed.files.iter().map(name).collect()
}

fn touch(path: &Path) {
    let later = SystemTime::now() + Duration::from_secs(5);
    let file = fs::File::open(path).unwrap();
    file.set_modified(later).unwrap();
}

/// The number of watches in the kernel.
fn watches(watcher: &Watcher) -> usize {
    let number = watcher.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    info.lines()
        .filter(|line| line.starts_with("inotify "))
        .count()
}

#[test]
fn a_file_that_is_written_touched_made_or_replaced_has_changed() {
    let folder = Folder::new();
    let [written, other] = ["written", "other"].map(|name| folder.write(name, "1"));
    let later = folder.path("later");
    let mut watcher = watching(&[&written, &later]);
    fs::write(&other, "2").unwrap();
    assert_eq!(files(&mut watcher), [""; 0], "nobody watches this one");
    fs::write(&written, "22").unwrap();
    assert_eq!(files(&mut watcher), ["written"]);
    assert_eq!(files(&mut watcher), [""; 0]);
    touch(&written);
    assert_eq!(files(&mut watcher), ["written"]);
    fs::rename(&other, &written).unwrap();
    assert_eq!(files(&mut watcher), ["written"]);
    fs::write(&later, "").unwrap();
    assert_eq!(files(&mut watcher), ["later"]);
    fs::remove_file(&later).unwrap();
    assert_eq!(files(&mut watcher), [""; 0]);
    fs::write(&later, "").unwrap();
    assert_eq!(files(&mut watcher), ["later"]);
    // Reading is not a change.
    fs::read(&later).unwrap();
    assert_eq!(files(&mut watcher), [""; 0]);
}

#[test]
fn a_link_is_followed_and_so_is_where_it_leads_to_later() {
    let folder = Folder::new();
    let [one, two] = ["1", "2"].map(|name| folder.write(&format!("{name}/file"), name));
    let link = folder.turn("link", "1/file");
    let mut watcher = watching(&[&link]);
    touch(&one);
    assert_eq!(files(&mut watcher), ["link"]);
    touch(&two);
    assert_eq!(files(&mut watcher), [""; 0]);
    folder.turn("link", "2/file");
    assert_eq!(files(&mut watcher), ["link"]);
    fs::write(&two, "written").unwrap();
    assert_eq!(files(&mut watcher), ["link"]);
    touch(&one);
    assert_eq!(files(&mut watcher), [""; 0]);
    fs::remove_file(&link).unwrap();
    assert_eq!(files(&mut watcher), [""; 0]);
    fs::write(&link, "no link any more").unwrap();
    assert_eq!(files(&mut watcher), ["link"]);
    touch(&link);
    assert_eq!(files(&mut watcher), ["link"]);
}

#[test]
fn a_link_that_is_turned_anywhere_on_the_way_is_a_change() {
    let folder = Folder::new();
    folder.write("releases/1/app/touch", "");
    // `rsync --link-dest` hard-links unchanged files between releases.
    fs::create_dir_all(folder.path("releases/2/app")).unwrap();
    fs::hard_link(
        folder.path("releases/1/app/touch"),
        folder.path("releases/2/app/touch"),
    )
    .unwrap();
    folder.turn("current", "releases/1");
    folder.turn("site", "current/app");
    let file = folder.path("site/touch");
    let mut watcher = watching(&[&file]);
    folder.turn("current", "releases/2");
    assert_eq!(files(&mut watcher), ["touch"]);
    fs::remove_dir_all(folder.path("releases/1")).unwrap();
    assert_eq!(files(&mut watcher), [""; 0]);
    touch(&folder.path("releases/2/app/touch"));
    assert_eq!(files(&mut watcher), ["touch"]);
    folder.turn("current", "releases/3");
    assert_eq!(files(&mut watcher), [""; 0], "nothing is there yet");
    folder.write("releases/3/app/touch", "");
    assert_eq!(files(&mut watcher), ["touch"]);
    // A folder replaces another one.
    folder.write("releases/new/app/touch", "");
    fs::rename(folder.path("releases/3"), folder.path("releases/old")).unwrap();
    fs::rename(folder.path("releases/new"), folder.path("releases/3")).unwrap();
    assert_eq!(files(&mut watcher), ["touch"]);
    touch(&folder.path("releases/old/app/touch"));
    assert_eq!(files(&mut watcher), [""; 0]);
    touch(&folder.path("releases/3/app/touch"));
    assert_eq!(files(&mut watcher), ["touch"]);
}

#[test]
fn a_missing_file_is_awaited_at_every_level() {
    let folder = Folder::new();
    let file = folder.path("a/b/c");
    let mut watcher = watching(&[&file]);
    fs::create_dir(folder.path("a")).unwrap();
    assert_eq!(files(&mut watcher), [""; 0]);
    folder.write("a/b/c", "");
    assert_eq!(files(&mut watcher), ["c"]);
    fs::remove_dir_all(folder.path("a")).unwrap();
    assert_eq!(files(&mut watcher), [""; 0]);
    folder.write("a/b/c", "");
    assert_eq!(files(&mut watcher), ["c"]);
}

#[test]
fn circular_links_are_ignored() {
    let folder = Folder::new();
    let one = folder.turn("1", "2");
    folder.turn("2", "1");
    let mut watcher = watching(&[&one]);
    folder.write("file", "");
    folder.turn("2", "file");
    assert_eq!(files(&mut watcher), ["1"]);
}

#[test]
fn anything_in_a_folder_is_a_change_of_the_folder() {
    let folder = Folder::new();
    folder.write("site/a/b/file", "");
    folder.turn("current", "site");
    let root = folder.path("current");
    let mut watcher = watching(&[&root]);
    touch(&folder.path("site/a/b/file"));
    assert_eq!(files(&mut watcher), ["file"]);
    fs::create_dir(folder.path("site/new")).unwrap();
    assert_eq!(files(&mut watcher), ["new"]);
    folder.write("site/new/deep/file", "");
    assert_eq!(files(&mut watcher), ["deep"]);
    fs::write(folder.path("site/new/deep/file"), "2").unwrap();
    assert_eq!(files(&mut watcher), ["file"]);
    fs::remove_file(folder.path("site/a/b/file")).unwrap();
    assert_eq!(files(&mut watcher), ["file"]);
    touch(&folder.path("site"));
    assert_eq!(files(&mut watcher), ["current"]);
    folder.write("other/file", "");
    folder.turn("current", "other");
    assert_eq!(files(&mut watcher), ["current"]);
    fs::remove_dir_all(folder.path("site")).unwrap();
    assert_eq!(files(&mut watcher), [""; 0]);
    fs::write(folder.path("other/file"), "2").unwrap();
    assert_eq!(files(&mut watcher), ["file"]);
    for name in [
        "__pycache__/a.pyc",
        ".a.py.swp",
        "a.py~",
        "4913",
        ".git/index",
    ] {
        folder.write(&format!("other/{name}"), "");
    }
    assert_eq!(files(&mut watcher), [""; 0]);
}

#[test]
fn a_pattern_is_about_the_files_that_match() {
    let folder = Folder::new();
    folder.write("templates/a/page.html", "");
    let mut watcher = Watcher::new().unwrap();
    let include = |text: &str| Include::matching(&folder.top, text).unwrap().0;
    watcher.set(vec![include("templates/**/*.html"), include("*.env")]);
    assert_eq!(files(&mut watcher), [""; 0]);
    folder.write("templates/a/page.html", "2");
    folder.write("templates/a/page.txt", "2");
    folder.write("deep/x.env", "2");
    assert_eq!(files(&mut watcher), ["page.html"]);
    // Written before the new folder is watched.
    folder.write("templates/b/c/new.html", "");
    assert_eq!(files(&mut watcher), ["new.html"]);
    folder.write("templates/b/c/new.html", "2");
    folder.write("site.env", "");
    assert_eq!(files(&mut watcher), ["new.html", "site.env"]);
    fs::create_dir(folder.path("templates/empty")).unwrap();
    assert_eq!(files(&mut watcher), [""; 0]);
    // Editors save by renaming.
    folder.write("templates/empty/x.html.tmp", "");
    let (tmp, page) = ("templates/empty/x.html.tmp", "templates/empty/x.html");
    fs::rename(folder.path(tmp), folder.path(page)).unwrap();
    assert_eq!(files(&mut watcher), ["x.html"]);
    fs::remove_dir_all(folder.path("templates")).unwrap();
    watcher.changed();
    fs::create_dir(folder.path("templates")).unwrap();
    assert_eq!(files(&mut watcher), [""; 0]);
    folder.write("templates/page.html", "");
    assert_eq!(files(&mut watcher), ["page.html"]);
}

#[test]
fn a_thousand_generations_leave_no_watch_behind() {
    let folder = Folder::new();
    for number in 0..4 {
        folder.write(&format!("{number}/a/b/file"), "");
    }
    let all = |number: usize| {
        let [file, whole] = ["a/b/file", "a"].map(|name| folder.path(&format!("{number}/{name}")));
        targets(&[&file, &whole])
    };
    let mut watcher = Watcher::new().unwrap();
    watcher.set(all(0));
    let before = watches(&watcher);
    assert!(before > 2);
    for number in 1..=1000 {
        watcher.set(all(number % 4));
        assert_eq!(watches(&watcher), before);
    }
    assert_eq!(files(&mut watcher), [""; 0]);
    touch(&folder.path("1/a/b/file"));
    assert_eq!(files(&mut watcher), [""; 0]);
    touch(&folder.path("0/a/b/file"));
    assert_eq!(files(&mut watcher), ["file"]);
    watcher.set(Vec::new());
    assert_eq!(watches(&watcher), 0);
}

#[test]
fn changes_before_a_new_generation_is_watched_are_seen() {
    let folder = Folder::new();
    let [one, two] = ["1", "2"].map(|name| folder.write(name, ""));
    let mut watcher = watching(&[&one, &two]);
    touch(&one);
    watcher.set(targets(&[&two, &one]));
    assert_eq!(files(&mut watcher), ["1"]);
}

#[test]
fn files_written_while_loading_count_as_changed() {
    let folder = Folder::new();
    let [old, new, future] = ["old", "new", "future"].map(|name| folder.write(name, ""));
    let now = SystemTime::now();
    let set = |path: &Path, time: SystemTime| {
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    };
    set(&old, now - Duration::from_secs(9));
    set(&new, now);
    set(&future, now + Duration::from_secs(999));
    let mut watcher = Watcher::new().unwrap();
    let since = now - Duration::from_secs(5);
    watcher.add(targets(&[&old, &new, &future]), Some(since));
    assert_eq!(files(&mut watcher), ["new"]);
    assert_eq!(files(&mut watcher), [""; 0]);
}

#[test]
fn a_queue_overflow_counts_as_a_change() {
    let folder = Folder::new();
    let [one, two] = ["1", "2"].map(|name| folder.write(name, ""));
    let mut watcher = watching(&[&one]);
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    // The kernel merges two identical events in a row.
    for _ in 0..queue.trim().parse::<usize>().unwrap() {
        fs::write(&one, "").unwrap();
        fs::write(&two, "").unwrap();
    }
    let mut lost = false;
    while poll_again(&watcher) {
        lost |= watcher.changed().lost;
    }
    assert!(lost);
    fs::write(&one, "after").unwrap();
    assert_eq!(files(&mut watcher), ["1"]);
}

fn poll_again(watcher: &Watcher) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(watcher.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
}
