//! How much of the processor those that serve take.

use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// How long it is watched; less says little of requests that compute now and then.
const WINDOW: Duration = Duration::from_millis(250);

/// Watches the processor time of processes.
#[derive(Debug, Default)]
pub(crate) struct CpuUsage {
    since: Duration,
    /// What each had used by then.
    used: Vec<(Pid, Duration)>,
    cores: Option<u32>,
}

impl CpuUsage {
    /// Thousandths of a core that these processes took in the last window; nothing before there was one. Of one that is
    /// new nothing is counted yet: what it has used, it has used to get ready.
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

/// What all threads of a process have used; nothing when it is gone.
pub(crate) fn used(pid: Pid) -> Option<Duration> {
    let clock = ClockId::pid_cpu_clock_id(pid).ok()?;
    clock.now().ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::getpid;

    #[test]
    fn what_was_used_before_a_process_serves_is_not_counted() {
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
    fn the_kernel_says_what_a_process_has_used() {
        let before = used(getpid()).unwrap();
        let enough = before + Duration::from_millis(5);
        while used(getpid()).unwrap() < enough {}
        let mut program = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(program.id()).unwrap());
        program.wait().unwrap();
        assert_eq!(used(pid), None);
    }
}
