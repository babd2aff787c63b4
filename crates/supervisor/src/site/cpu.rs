//! The CPU usage of the serving processes.

use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// The duration of a measurement; a shorter one would be too inaccurate for requests that compute occasionally.
const WINDOW: Duration = Duration::from_millis(250);

/// Measures the CPU time of processes.
#[derive(Debug, Default)]
pub(crate) struct CpuUsage {
    since: Duration,
    /// The CPU time of each at the last measurement.
    used: Vec<(Pid, Duration)>,
    cores: Option<u32>,
}

impl CpuUsage {
    /// Thousandths of a core that these processes used in the last window; `None` before the first one. A new
    /// process counts from the next window on: its CPU time so far was spent on getting ready.
    pub(crate) fn look(
        &mut self,
        now: Duration,
        pids: impl Iterator<Item = Pid>,
        used: impl Fn(Pid) -> Option<Duration>,
    ) -> Option<u32> {
        let window = now.saturating_sub(self.since);
        if window < WINDOW {
            return self.cores;
        }
        let present: Vec<_> = pids.filter_map(|pid| Some((pid, used(pid)?))).collect();
        if !self.used.is_empty() {
            let taken = present.iter().map(|(pid, now)| {
                let before = self.used.iter().find(|(known, _)| known == pid);
                before.map_or(Duration::ZERO, |(_, before)| now.saturating_sub(*before))
            });
            let taken: Duration = taken.sum();
            let cores = taken.as_micros() * 1000 / window.as_micros();
            self.cores = Some(u32::try_from(cores).unwrap_or(u32::MAX));
        }
        self.since = now;
        self.used = present;
        self.cores
    }
}

/// The CPU time of all threads of a process; `None` when it has gone.
pub(crate) fn used(pid: Pid) -> Option<Duration> {
    let clock = ClockId::pid_cpu_clock_id(pid).ok()?;
    clock.now().ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::getpid;

    #[test]
    fn cpu_time_before_serving_is_not_counted() {
        let mut computing = CpuUsage::default();
        let millis = Duration::from_millis;
        let mut look = |now, used: &[(i32, u64)]| {
            let pids = used.iter().map(|(pid, _)| Pid::from_raw(*pid));
            computing.look(millis(now), pids, |pid| {
                let (_, used) = used.iter().find(|(known, _)| *known == pid.as_raw())?;
                Some(millis(*used))
            })
        };
        assert_eq!(look(100, &[(7, 50)]), None);
        assert_eq!(look(1000, &[(7, 100)]), None);
        assert_eq!(look(1500, &[(7, 350), (8, 2000)]), Some(500));
        // Too early.
        assert_eq!(look(1600, &[(7, 450), (8, 2100)]), Some(500));
        assert_eq!(look(2000, &[(7, 450), (8, 2150)]), Some(500));
        assert_eq!(look(3000, &[(8, 3350)]), Some(1200));
    }

    #[test]
    fn the_cpu_time_of_a_process_is_read() {
        let before = used(getpid()).unwrap();
        let enough = before + Duration::from_millis(5);
        while used(getpid()).unwrap() < enough {}
        let mut program = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(program.id()).unwrap());
        program.wait().unwrap();
        assert_eq!(used(pid), None);
    }
}
