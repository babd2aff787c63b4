//! Apache's directives for an elastic pool: their defaults, and their corrections at the start.

use std::fmt;

/// The most that `ServerLimit` may be: a slot's number has 12 bits. Apache is compiled with 200,000 (prefork) and 20,000
/// (worker).
const MAX_SERVER_LIMIT: u32 = 4096;

/// The most that `ThreadLimit` may be: a thread's number is a byte. Apache is compiled with 20,000.
const MAX_THREAD_LIMIT: u32 = 255;

/// A multi-processing module of Apache, of which the directives take their defaults and corrections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpm {
    /// Children of one thread; spare children are counted.
    Prefork,
    /// Children of several threads; spare threads are counted.
    Worker,
}

/// A directive of Apache, shown by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Apache's")]
pub enum Directive {
    StartServers,
    MinSpareServers,
    MaxSpareServers,
    MinSpareThreads,
    MaxSpareThreads,
    /// Called `MaxClients` before Apache 2.4, and in the article.
    MaxRequestWorkers,
    ServerLimit,
    ThreadsPerChild,
    ThreadLimit,
}

/// The directives as they are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The module whose defaults and corrections apply.
    pub mpm: Mpm,
    /// `StartServers`: children started at once.
    pub start_servers: u32,
    /// `MinSpareServers` or `MinSpareThreads`: fewer idle ones, and the pool grows.
    pub min_spare: u32,
    /// `MaxSpareServers` or `MaxSpareThreads`: more idle ones, and the pool shrinks.
    pub max_spare: u32,
    /// `MaxRequestWorkers`, the article's `MaxClients`: application threads at most, of all children.
    pub max_request_workers: u32,
    /// `ServerLimit`: the most children that a reload can ask for.
    pub server_limit: u32,
    /// `ThreadsPerChild`: application threads of each child; 1 with prefork.
    pub threads_per_child: u32,
    /// `ThreadLimit`: the most threads per child that a reload can ask for.
    pub thread_limit: u32,
}

/// A directive whose value was out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Which.
    pub directive: Directive,
    /// The number that was given.
    pub given: u32,
    /// The number that is used instead.
    pub used: u32,
}

/// The bounds of an elastic pool, as corrected by [`Directives::correct`]: consistent with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elastic {
    mpm: Mpm,
    start_servers: u16,
    min_spare: u32,
    max_spare: u32,
    max_children: u16,
    server_limit: u16,
    threads_per_child: u16,
    thread_limit: u16,
}

impl Directives {
    /// The defaults: what `httpd-mpm.conf` of Apache 2.4 has.
    #[must_use]
    pub const fn shipped(mpm: Mpm) -> Self {
        match mpm {
            Mpm::Prefork => Self::prefork([5, 5, 10, 250]),
            Mpm::Worker => Self::worker([3, 75, 250, 400]),
        }
    }

    /// What Apache's `httpd-mpm.conf` had in 2009, as the article quotes it.
    #[must_use]
    pub const fn apache_2009(mpm: Mpm) -> Self {
        match mpm {
            Mpm::Prefork => Self::prefork([5, 5, 10, 150]),
            Mpm::Worker => Self::worker([2, 25, 75, 150]),
        }
    }

    const fn prefork(numbers: [u32; 4]) -> Self {
        let [start_servers, min_spare, max_spare, max_request_workers] = numbers;
        Self {
            mpm: Mpm::Prefork,
            start_servers,
            min_spare,
            max_spare,
            max_request_workers,
            server_limit: 256,
            threads_per_child: 1,
            thread_limit: 1,
        }
    }

    const fn worker(numbers: [u32; 4]) -> Self {
        let [start_servers, min_spare, max_spare, max_request_workers] = numbers;
        Self {
            mpm: Mpm::Worker,
            start_servers,
            min_spare,
            max_spare,
            max_request_workers,
            server_limit: 16,
            threads_per_child: 25,
            thread_limit: 64,
        }
    }

    /// The bounds after Apache's corrections, and the corrections in order. `running` are the present bounds at a reload, which
    /// cannot change `ServerLimit` and `ThreadLimit`.
    ///
    /// Two corrections of which Apache logs nothing are returned as well: `StartServers` above the limit, and the most spare
    /// ones too close to the fewest.
    #[must_use]
    pub fn correct(&self, running: Option<&Elastic>) -> (Elastic, Vec<Correction>) {
        let mut corrections = Corrections(Vec::new());
        let (server_limit, threads_per_child, thread_limit) =
            self.hard_limits(running, &mut corrections);
        let max_children = self.max_children(server_limit, threads_per_child, &mut corrections);
        let start_servers = corrections.bound(
            Directive::StartServers,
            self.start_servers,
            1,
            u32::from(max_children),
        );
        let (fewest, most) = match self.mpm {
            Mpm::Prefork => (Directive::MinSpareServers, Directive::MaxSpareServers),
            Mpm::Worker => (Directive::MinSpareThreads, Directive::MaxSpareThreads),
        };
        // With 0 no child would be idle for the next request; Apache corrects it "to avoid almost certain server failure".
        let min_spare = corrections.bound(fewest, self.min_spare, 1, u32::MAX);
        // Retiring one child must not leave too few at once.
        let apart = match self.mpm {
            Mpm::Prefork => 1,
            Mpm::Worker => u32::from(threads_per_child) + 1,
        };
        let least = min_spare.saturating_add(apart);
        let max_spare = corrections.bound(most, self.max_spare, least, u32::MAX);
        let elastic = Elastic {
            mpm: self.mpm,
            start_servers: narrow(start_servers),
            min_spare,
            max_spare,
            max_children,
            server_limit,
            threads_per_child,
            thread_limit,
        };
        (elastic, corrections.0)
    }

    /// `ServerLimit`, `ThreadsPerChild` and `ThreadLimit`.
    fn hard_limits(
        &self,
        running: Option<&Elastic>,
        corrections: &mut Corrections,
    ) -> (u16, u16, u16) {
        let mut server_limit = corrections.bound(
            Directive::ServerLimit,
            self.server_limit,
            1,
            MAX_SERVER_LIMIT,
        );
        let mut thread_limit = match self.mpm {
            Mpm::Prefork => 1,
            Mpm::Worker => corrections.bound(
                Directive::ThreadLimit,
                self.thread_limit,
                1,
                MAX_THREAD_LIMIT,
            ),
        };
        // The scoreboard has been made for these limits and cannot be resized.
        if let Some(running) = running {
            let first = u32::from(running.server_limit);
            server_limit = corrections.bound(Directive::ServerLimit, server_limit, first, first);
            if self.mpm == Mpm::Worker {
                let first = u32::from(running.thread_limit);
                thread_limit =
                    corrections.bound(Directive::ThreadLimit, thread_limit, first, first);
            }
        }
        let threads_per_child = corrections.bound(
            Directive::ThreadsPerChild,
            self.threads_per_child,
            1,
            thread_limit,
        );
        (
            narrow(server_limit),
            narrow(threads_per_child),
            narrow(thread_limit),
        )
    }

    /// `MaxRequestWorkers`, in children.
    fn max_children(
        &self,
        server_limit: u16,
        threads_per_child: u16,
        corrections: &mut Corrections,
    ) -> u16 {
        let threads = u32::from(threads_per_child);
        let directive = Directive::MaxRequestWorkers;
        let workers = corrections.bound(directive, self.max_request_workers, threads, u32::MAX);
        let whole = workers - workers % threads;
        let whole = corrections.bound(directive, workers, whole, whole);
        let limit = u32::from(server_limit) * threads;
        narrow(corrections.bound(directive, whole, 1, limit) / threads)
    }
}

impl Elastic {
    /// The module whose corrections were made.
    #[must_use]
    pub const fn mpm(&self) -> Mpm {
        self.mpm
    }

    /// `StartServers`: children started at once.
    #[must_use]
    pub const fn start_servers(&self) -> u16 {
        self.start_servers
    }

    /// These bounds with another `MaxRequestWorkers`, in children: at least one, and no more than `ServerLimit`.
    #[must_use]
    pub fn limited_to(self, children: u16) -> Self {
        let max_children = children.max(1).min(self.server_limit);
        Self {
            max_children,
            start_servers: self.start_servers.min(max_children),
            ..self
        }
    }

    /// `MinSpareServers` or `MinSpareThreads`: fewer idle threads, and the pool grows.
    #[must_use]
    pub const fn min_spare(&self) -> u32 {
        self.min_spare
    }

    /// `MaxSpareServers` or `MaxSpareThreads`: more idle threads, and the pool shrinks.
    #[must_use]
    pub const fn max_spare(&self) -> u32 {
        self.max_spare
    }

    /// `MaxRequestWorkers` in children.
    #[must_use]
    pub const fn max_children(&self) -> u16 {
        self.max_children
    }

    /// `ServerLimit`: as many slots as there may ever be.
    #[must_use]
    pub const fn server_limit(&self) -> u16 {
        self.server_limit
    }

    /// `ThreadsPerChild`: application threads of each child.
    #[must_use]
    pub const fn threads_per_child(&self) -> u16 {
        self.threads_per_child
    }

    /// `ThreadLimit`: as many threads as a child may ever have.
    #[must_use]
    pub const fn thread_limit(&self) -> u16 {
        self.thread_limit
    }
}

struct Corrections(Vec<Correction>);

impl Corrections {
    /// The number within its bounds. Where the bounds contradict each other the upper one holds.
    fn bound(&mut self, directive: Directive, given: u32, least: u32, most: u32) -> u32 {
        let used = given.max(least).min(most);
        if used != given {
            self.0.push(Correction {
                directive,
                given,
                used,
            });
        }
        used
    }
}

fn narrow(number: u32) -> u16 {
    u16::try_from(number).expect("it has been corrected to a limit that is small enough")
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl fmt::Display for Correction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            directive,
            given,
            used,
        } = self;
        write!(f, "{directive} of {given} not allowed, using {used}")
    }
}
