//! What the kernel tells of the server's processes. It is asked here and not by the server: to count the memory of a
//! process takes milliseconds, in which a server of many children would do nothing else.

use std::fs;

use supervisor::control::{Process, Status};

/// The kernel counts the time since its start in hundredths of a second, wherever it tells it to programs.
const TICKS_A_SECOND: f64 = 100.0;

/// Fills in age and private memory, as far as this user may know them.
pub(super) fn measure(status: &mut Status) {
    let uptime = fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.as_deref().and_then(first_number);
    let front = status.front.as_mut().map(|front| &mut front.process);
    let molds = status.mold.iter_mut().chain(&mut status.next_mold);
    let molds = molds.map(|mold| &mut mold.process);
    let children = status.children.iter_mut().map(|child| &mut child.process);
    let others = front.into_iter().chain(molds).chain(children);
    for process in [&mut status.supervisor.process].into_iter().chain(others) {
        measure_one(process, uptime);
    }
}

fn measure_one(process: &mut Process, uptime: Option<f64>) {
    if process.pid == 0 {
        return;
    }
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", process.pid)).ok();
    let started = read("stat").as_deref().and_then(start);
    let age = uptime.zip(started);
    process.age_seconds = age.map(|(uptime, started)| (uptime - started).max(0.0));
    process.private_bytes = read("smaps_rollup").as_deref().and_then(private);
}

/// When a process was started, in seconds after the kernel.
fn start(stat: &str) -> Option<f64> {
    // The second field is the name in parentheses, which may hold anything; the third follows it.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: f64 = rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    Some(ticks / TICKS_A_SECOND)
}

/// The memory that a process shares with no other.
fn private(rollup: &str) -> Option<u64> {
    let kilobytes = |line: &str| -> Option<u64> {
        let (name, value) = line.split_once(':')?;
        let counts = ["Private_Clean", "Private_Dirty", "Private_Hugetlb"].contains(&name);
        value
            .trim()
            .strip_suffix(" kB")
            .filter(|_| counts)?
            .parse()
            .ok()
    };
    let mut found = rollup.lines().filter_map(kilobytes).peekable();
    found.peek()?;
    Some(found.sum::<u64>() * 1024)
}

fn first_number(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_memory_is_the_sum_of_what_is_private() {
        let rollup = "55-7f ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nShared_Clean: 500 kB\n\
                      Private_Clean:   4 kB\nPrivate_Dirty:  96 kB\nPrivate_Hugetlb: 0 kB\n";
        assert_eq!(private(rollup), Some(100 * 1024));
        assert_eq!(private(""), None);
    }

    #[test]
    fn the_start_is_found_behind_any_name() {
        let between = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18";
        assert_eq!(start(&format!("7 (a) b) {between} 1250 9")), Some(12.5));
        assert_eq!(start("7 (x) S 1"), None);
    }

    #[test]
    fn this_process_can_be_measured() {
        let mut own = Process::of(std::process::id());
        measure_one(&mut own, Some(f64::MAX));
        assert!(own.private_bytes > Some(0));
        assert!(own.age_seconds > Some(0.0));
    }
}
