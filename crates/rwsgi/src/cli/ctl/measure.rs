//! Measurements of the server's processes. `rwsgictl` makes them, not the server: measuring the memory of one
//! process takes milliseconds, which would block a server with many children.

use std::fs;

use supervisor::control::{Process, Status};
use supervisor::{Memory, Stat};

/// The kernel reports start times in hundredths of a second in all of its interfaces.
const TICKS_A_SECOND: f64 = 100.0;

/// Fills in age and private memory, as far as this user may read them.
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
    let started = Stat::of(process.pid).and_then(|stat| start(&stat));
    let age = uptime.zip(started);
    process.age_seconds = age.map(|(uptime, started)| (uptime - started).max(0.0));
    process.private_bytes = Memory::of(process.pid).map(|memory| memory.private);
}

/// The start time of a process, in seconds after boot.
fn start(stat: &Stat) -> Option<f64> {
    let ticks: f64 = stat.field(22)?.parse().ok()?;
    Some(ticks / TICKS_A_SECOND)
}

fn first_number(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_measured() {
        let mut own = Process::of(std::process::id());
        measure_one(&mut own, Some(f64::MAX));
        assert!(own.private_bytes > Some(0));
        assert!(own.age_seconds > Some(0.0));
    }
}
