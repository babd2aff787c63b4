//! The size of the pool, from the options and the machine's resources.

use exchange::Geometry;
use pool::{Correction, Directives, Mpm, Pool, Safe};
use tracing::warn;

use crate::config::{Budget, Config, Policy, Preload};

/// The maximum of child slots in the exchange, less the one reserved for replacements.
const MOST_CHILDREN: u16 = 4095;

/// Children per core with `--processes auto`: while one waits for a database, another computes.
const PER_CORE: u16 = 2;

/// `auto` leaves one part in this many of the memory to the kernel's buffers and to programs that the application
/// starts.
const RESERVE: u64 = 10;

/// A minimum of idle children so high that the pool always grows to its maximum.
const ALWAYS_MORE: u32 = 1 << 30;

/// The pool, and its maximum size without a restart.
#[derive(Clone, Debug)]
pub(crate) struct Sizing {
    pub(crate) pool: Pool,
    /// The pool has a constant size, as far as memory allows.
    pub(crate) keeps_size: bool,
    /// The maximum of children.
    pub(crate) limit: u16,
    corrections: Vec<Correction>,
}

impl Sizing {
    /// The sizing for these options on this machine.
    pub(crate) fn of(config: &Config) -> Self {
        let machine = Machine {
            cores: std::thread::available_parallelism()
                .ok()
                .and_then(|cores| u16::try_from(cores.get()).ok())
                .unwrap_or(1),
            memory: supervisor::memory_limit(),
        };
        Self::on(config, machine)
    }

    fn on(config: &Config, machine: Machine) -> Self {
        match config.mpm() {
            Some(mpm) => Self::elastic(config, mpm, machine),
            None => Self::fixed(config, machine),
        }
    }

    fn elastic(config: &Config, mpm: Mpm, machine: Machine) -> Self {
        let (elastic, corrections) = directives(config, mpm).correct(None);
        // Apache's own rules do not reserve a slot.
        let elastic = elastic.limited_to(MOST_CHILDREN.min(elastic.max_children()));
        let pool = match config.pool_policy {
            Policy::Apache => Pool::Apache(elastic),
            Policy::Safe => Pool::Safe(Safe {
                elastic,
                cores: machine.cores,
                memory_budget: machine.budget(config.memory_budget),
            }),
        };
        Self {
            pool,
            keeps_size: false,
            limit: elastic.server_limit().min(MOST_CHILDREN),
            corrections,
        }
    }

    fn fixed(config: &Config, machine: Machine) -> Self {
        let processes = match config.processes {
            0 => machine.cores.saturating_mul(PER_CORE).min(512),
            processes => processes,
        };
        let room = (processes * 2).max(processes + 4);
        let limit = config
            .elastic
            .server_limit
            .map_or(room, |limit| u16::try_from(limit).unwrap_or(MOST_CHILDREN));
        let limit = limit.clamp(processes, MOST_CHILDREN);
        let budget = match (config.processes, config.memory_budget) {
            (0, Budget::Off) => machine.budget(Budget::Auto),
            (_, budget) => machine.budget(budget),
        };
        let pool = match budget {
            None => Pool::Fixed { processes },
            Some(_) => Pool::Safe(Safe {
                elastic: full_size_pool(processes, limit, config.threads),
                cores: machine.cores,
                memory_budget: budget,
            }),
        };
        Self {
            pool,
            keeps_size: true,
            limit,
            corrections: Vec::new(),
        }
    }

    /// There is only one child, unless it is scaled by hand.
    fn is_single(&self) -> bool {
        most(&self.pool) == 1
    }

    /// With one child that is not replaced regularly, `--preload auto` gains nothing: a mold would hold a second
    /// copy of what the child has loaded. A reload loads the application anew in either case.
    pub(crate) fn loads_alone(&self, config: &Config) -> bool {
        config.preload == Preload::Auto
            && self.is_single()
            && config.recycling == pool::Recycling::default()
    }

    /// Logs corrected values.
    pub(crate) fn log(&self) {
        for correction in &self.corrections {
            let Correction {
                directive,
                given,
                used,
            } = correction;
            warn!(%directive, given, used, "{correction}");
        }
    }

    /// Limits the pool to an exchange with this many children; warns if it was larger.
    pub(crate) fn fit(&mut self, limit: u16) {
        let wanted = most(&self.pool);
        if wanted > limit {
            warn!(
                wanted,
                used = limit,
                "the pool cannot be so large until the server is started again"
            );
        }
        self.limit = limit;
        match &mut self.pool {
            Pool::Fixed { processes } => *processes = limit.min(*processes),
            Pool::Apache(elastic) | Pool::Safe(Safe { elastic, .. }) => {
                *elastic = elastic.limited_to(limit.min(wanted));
            }
        }
    }

    /// The geometry of the exchange.
    pub(crate) fn geometry(&self, config: &Config) -> Geometry {
        Geometry {
            // A child that replaces another exists beside it.
            children: self.limit + 1,
            threads: u8::try_from(config.threads).unwrap_or(u8::MAX),
            queue: config.max_queue,
        }
    }

    /// Describes the pool for the operator.
    pub(crate) fn describe(&self) -> String {
        let children =
            |count: u16| format!("{count} process{}", if count == 1 { "" } else { "es" });
        match &self.pool {
            Pool::Fixed { processes } => children(*processes),
            pool if self.keeps_size => format!("up to {}", children(most(pool))),
            Pool::Apache(elastic) | Pool::Safe(Safe { elastic, .. }) => format!(
                "{} to {}",
                elastic.start_servers(),
                children(elastic.max_children())
            ),
        }
    }
}

/// The resources for children.
#[derive(Clone, Copy, Debug)]
struct Machine {
    cores: u16,
    memory: Option<u64>,
}

impl Machine {
    fn budget(self, budget: Budget) -> Option<u64> {
        match budget {
            Budget::Off => None,
            Budget::Bytes(bytes) => Some(bytes),
            Budget::Auto => self.memory.map(|memory| memory - memory / RESERVE),
        }
    }
}

fn most(pool: &Pool) -> u16 {
    match pool {
        Pool::Fixed { processes } => *processes,
        Pool::Apache(elastic) | Pool::Safe(Safe { elastic, .. }) => elastic.max_children(),
    }
}

/// The directives as given, with Apache's defaults for the others. A default that contradicts a given value is
/// corrected without a message.
fn directives(config: &Config, mpm: Mpm) -> Directives {
    let shipped = Directives::shipped(mpm);
    let given = &config.elastic;
    let threads_per_child = u32::from(config.threads);
    let max_request_workers = given.max_clients.unwrap_or(shipped.max_request_workers);
    let (min_spare, max_spare) = match mpm {
        Mpm::Prefork => (
            given.min_spare_servers.or(given.min_spare_threads),
            given.max_spare_servers.or(given.max_spare_threads),
        ),
        Mpm::Worker => (
            given.min_spare_threads.or(given.min_spare_servers),
            given.max_spare_threads.or(given.max_spare_servers),
        ),
    };
    let max_children = (max_request_workers / threads_per_child.max(1)).max(1);
    let usual = shipped.min_spare.min(max_request_workers.max(1));
    let min_spare = min_spare.unwrap_or(usual);
    let usual_start = shipped.start_servers.min(max_children);
    let usual_most = shipped
        .max_spare
        .max(min_spare.saturating_add(threads_per_child + 1));
    Directives {
        mpm,
        start_servers: given.start_servers.unwrap_or(usual_start),
        min_spare,
        max_spare: max_spare.unwrap_or(usual_most),
        max_request_workers,
        server_limit: given.server_limit.unwrap_or(shipped.server_limit),
        threads_per_child,
        thread_limit: shipped.thread_limit.max(threads_per_child),
    }
}

/// An elastic pool that grows to its maximum and stays there, as far as memory allows.
fn full_size_pool(processes: u16, limit: u16, threads: u16) -> pool::Elastic {
    let threads = u32::from(threads);
    let mpm = if threads == 1 {
        Mpm::Prefork
    } else {
        Mpm::Worker
    };
    let (elastic, _) = Directives {
        mpm,
        start_servers: u32::from(processes),
        min_spare: ALWAYS_MORE,
        max_spare: 2 * ALWAYS_MORE,
        max_request_workers: u32::from(processes) * threads,
        server_limit: u32::from(limit),
        threads_per_child: threads,
        thread_limit: threads,
    }
    .correct(None);
    elastic
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    const MACHINE: Machine = Machine {
        cores: 3,
        memory: Some(1000 << 20),
    };

    fn sizing(args: &str) -> Sizing {
        let args = format!("{args} app")
            .split_whitespace()
            .map(OsString::from)
            .collect::<Vec<_>>();
        let empty = std::path::Path::new("/nowhere");
        match crate::config::read(args, [], empty) {
            Ok(crate::config::Command::Serve(config)) => Sizing::on(&config, MACHINE),
            other => panic!("{other:?}"),
        }
    }

    fn elastic(sizing: &Sizing) -> pool::Elastic {
        match sizing.pool {
            Pool::Safe(Safe { elastic, .. }) | Pool::Apache(elastic) => elastic,
            Pool::Fixed { .. } => panic!("a fixed pool"),
        }
    }

    #[test]
    fn a_fixed_pool_has_room_to_be_scaled() {
        for (args, processes, limit) in [
            ("", 1, 5),
            ("-p 3", 3, 7),
            ("-p 10", 10, 20),
            ("-p 10 --server-limit 12", 10, 12),
            ("-p 10 --server-limit 4", 10, 10),
        ] {
            let sizing = sizing(args);
            assert!(
                matches!(sizing.pool, Pool::Fixed { processes: found } if found == processes),
                "{args}"
            );
            assert_eq!(sizing.limit, limit, "{args}");
        }
    }

    #[test]
    fn auto_is_two_per_core_limited_by_memory() {
        let sizing = sizing("-p auto");
        assert_eq!((most(&sizing.pool), sizing.keeps_size), (6, true));
        let Pool::Safe(safe) = sizing.pool else {
            panic!("no budget")
        };
        assert_eq!(safe.memory_budget, Some(900 << 20));
        assert_eq!(sizing.describe(), "up to 6 processes");
    }

    #[test]
    fn the_mpms_have_apaches_defaults() {
        let prefork = sizing("--mpm prefork");
        assert_eq!(
            elastic(&prefork),
            Directives::shipped(Mpm::Prefork).correct(None).0
        );
        assert_eq!(prefork.limit, 256);
        let worker = sizing("--mpm worker");
        assert_eq!(
            elastic(&worker),
            Directives::shipped(Mpm::Worker).correct(None).0
        );
        assert_eq!(worker.describe(), "3 to 16 processes");
    }

    #[test]
    fn defaults_give_way_and_given_values_are_corrected() {
        let small = sizing("--max-clients 3");
        assert_eq!(elastic(&small).start_servers(), 3);
        assert_eq!(small.corrections, []);
        let wrong =
            sizing("--mpm prefork --max-clients 300 --min-spare-servers 8 --max-spare-servers 8");
        let words: Vec<_> = wrong
            .corrections
            .iter()
            .map(Correction::to_string)
            .collect();
        assert_eq!(
            words,
            [
                "MaxRequestWorkers of 300 not allowed, using 256",
                "MaxSpareServers of 8 not allowed, using 9"
            ]
        );
        assert_eq!(
            elastic(&sizing("--threads 4 --max-clients 10")).max_children(),
            2
        );
    }

    #[test]
    fn what_apache_accepts_is_accepted() {
        let none = sizing(
            "--start-servers 0 --min-spare-servers 0 --max-spare-servers 0 --max-clients 0 --server-limit 0",
        );
        let found = elastic(&none);
        assert_eq!((found.start_servers(), found.max_children()), (1, 1));
        assert_eq!((found.min_spare(), found.max_spare()), (1, 2));
        let huge = sizing("--max-clients 1000000 --server-limit 1000000");
        assert_eq!((elastic(&huge).max_children(), huge.limit), (4095, 4095));
    }

    #[test]
    fn a_pool_is_limited_to_the_exchange() {
        let mut fixed = sizing("-p 10");
        fixed.fit(7);
        assert!(matches!(fixed.pool, Pool::Fixed { processes: 7 }));
        let mut large = sizing("--mpm prefork");
        large.fit(7);
        assert_eq!(elastic(&large).max_children(), 7);
    }
}
