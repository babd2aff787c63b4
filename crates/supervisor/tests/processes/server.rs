//! A server whose processes do only what the scenarios need.
//!
//! Lines: `serving`, `front PID`, `draining`, `mold PID preload|plain`, `child SLOT PID PARENT`, `drained SLOT`.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::parent_id;
use std::process::{Command, ExitCode};
use std::time::Duration;

use exchange::notice::{FromFront, ToFront};
use exchange::{ChildId, Exchange, Geometry};
use rwsgi_supervisor::{
    ChildLink, ChildOrder, ChildReport, ForkHooks, Listener, MoldBirth, MoldLink, MoldReport,
    Order, Preload, Program, Reread, Roles, Settings, Unloadable, fork_child, run, title,
};

/// Serves with `options`: words that change what the processes do.
pub(crate) fn serve(options: &[String]) -> ExitCode {
    title::prepare();
    let given = |name: &str| options.iter().any(|option| option == name);
    let settings = Settings {
        pool: pool::Pool::Fixed { processes: 2 },
        keeps_size: true,
        recycling: pool::Recycling::default(),
        preload: if given("preload-off") {
            Preload::Off
        } else {
            Preload::Auto
        },
        startup_timeout: if given("impatient") {
            Duration::from_millis(300)
        } else {
            Duration::from_secs(60)
        },
        shutdown_timeout: if given("short-stop") {
            Duration::from_millis(300)
        } else if given("three-seconds") {
            Duration::from_secs(3)
        } else {
            Duration::from_secs(30)
        },
        shutdown_delay: Duration::ZERO,
        touch_reload: Vec::new(),
        watch_modules: false,
        reload_include: Vec::new(),
        takes_over: false,
        program: Program {
            path: "/bin/false".into(),
            arguments: Vec::new(),
            folder: "/".into(),
            environment: Vec::new(),
            descriptors: Vec::new(),
        },
        title: "test".to_owned(),
        identity: None,
        logs: Vec::new(),
    };
    let exchange = Exchange::create(Geometry {
        // One for the child that replaces another.
        children: 3,
        threads: 1,
        queue: 4,
    })
    .unwrap();
    let listeners = Listener::open(&"127.0.0.1:0".parse().unwrap(), &[], 8, None).unwrap();
    let roles = Actors {
        options: options.to_vec(),
        settings: settings.clone(),
        exchange: &exchange,
    };
    let announce = |_: &rwsgi_supervisor::Serving| println!("serving");
    ExitCode::from(run(&settings, listeners, &exchange, None, &announce, &roles).code())
}

struct Actors<'a> {
    options: Vec<String>,
    settings: Settings,
    exchange: &'a Exchange,
}

impl Actors<'_> {
    fn given(&self, name: &str) -> bool {
        self.options.iter().any(|option| option == name)
    }

    fn unloadable(&self) -> Unloadable {
        Unloadable {
            why: "no".to_owned(),
            is_final: self.given("no-application"),
        }
    }

    fn child(&self, link: &ChildLink, opened: &File) -> u8 {
        let slot = link.child().slot;
        if self.given("child-dies") {
            return 3;
        }
        if self.given("child-unloadable") {
            link.report(ChildReport::Unloadable(self.unloadable()))
                .unwrap();
            return 3;
        }
        if self.given("tell-descriptors") {
            println!(
                "descriptors {}",
                self.descriptors(opened.as_raw_fd()).join(" ")
            );
        }
        if self.given("start-program") && slot == 0 {
            let script =
                "echo program $(grep -E 'Sig(Blk|Ign)' /proc/self/status) $(ls /proc/self/fd)";
            assert!(
                Command::new("/bin/sh")
                    .args(["-c", script])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let ready = link.report(ChildReport::Ready);
        println!("child {slot} {} {}", std::process::id(), parent_id());
        if ready.is_err() {
            // The supervisor has been killed meanwhile.
            return 1;
        }
        while let Some(order) = link.next_order() {
            if order == ChildOrder::Drain {
                println!("drained {slot}");
                if self.given("child-never-leaves") {
                    let _ = link.report(ChildReport::Draining);
                    std::thread::sleep(Duration::from_secs(600));
                }
                return 0;
            }
        }
        1
    }

    /// Open descriptors besides the standard streams, those of the exchange and the folder that is being read.
    fn descriptors(&self, opened: RawFd) -> Vec<String> {
        let known = self.exchange.descriptors();
        let open = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| {
                let entry = entry.unwrap();
                let number: RawFd = entry.file_name().to_str().unwrap().parse().unwrap();
                let target = std::fs::read_link(entry.path())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                let kind = target.split(':').next().unwrap().to_owned();
                let other = number > 2 && !known.contains(&number) && !target.contains("/proc/");
                other.then(|| {
                    if number == opened {
                        "application".to_owned()
                    } else {
                        kind
                    }
                })
            });
        let mut open: Vec<_> = open.collect();
        open.sort();
        open
    }
}

impl Roles for Actors<'_> {
    fn reread(&self) -> Result<Reread, String> {
        Ok(Reread {
            settings: self.settings.clone(),
            need_restart: Vec::new(),
        })
    }

    fn settle(&self, _: bool) {}

    fn front(&self, link: OwnedFd, listeners: Vec<Listener>, _: &[(ChildId, u32)]) -> u8 {
        assert_eq!(listeners.len(), 1);
        println!("front {}", std::process::id());
        let link = UnixDatagram::from(link);
        let say =
            |word: FromFront| assert_eq!(link.send(&word.encode()).unwrap(), exchange::notice::LEN);
        say(FromFront::Serving);
        let mut buffer = [0; 64];
        loop {
            let length = link.recv(&mut buffer).unwrap();
            match ToFront::decode(&buffer[..length]) {
                Some(ToFront::Born(..)) => {}
                Some(ToFront::Gone(child)) => say(FromFront::Cleared(child)),
                Some(ToFront::Drain) => {
                    println!("draining");
                    if !self.given("front-never-drains") {
                        say(FromFront::Drained);
                    }
                }
                Some(ToFront::Reopen) => println!("reopening"),
                Some(ToFront::Close) => println!("closing"),
                None => return 0,
            }
        }
    }

    fn mold(&self, link: MoldLink, birth: MoldBirth) -> u8 {
        let kind = match birth {
            MoldBirth { preload: true, .. } => "preload",
            MoldBirth { preload: false, .. } => "plain",
        };
        println!("mold {} {kind}", std::process::id());
        if self.given("mold-dies") {
            return 3;
        }
        if self.given("mold-unloadable") {
            link.report(MoldReport::Unloadable(self.unloadable()))
                .unwrap();
            return 3;
        }
        if self.given("mold-never-ready") {
            return u8::from(link.next_order().is_some());
        }
        if self.given("mold-unshareable") && birth.preload {
            link.report(MoldReport::Unshareable {
                why: "a thread".to_owned(),
            })
            .unwrap();
        }
        let opened = File::open("/dev/null").unwrap();
        let hangs = self.given("fork-hangs-in-a-reload") && birth.generation > 1;
        link.report(MoldReport::Ready {
            about: "a test".to_owned(),
        })
        .unwrap();
        while let Some(Order::Spawn(spawn)) = link.next_order() {
            let hooks = Hooks {
                seen: Cell::new(""),
                hangs,
            };
            let mut live = |link: ChildLink| {
                assert_eq!(hooks.seen.get(), "before, in child");
                self.child(&link, &opened)
            };
            fork_child(&link, spawn, &hooks, &mut live).unwrap();
            assert_eq!(
                hooks.seen.get(),
                "before, in parent",
                "what a hook waits for is in the mold"
            );
        }
        0
    }
}

/// Records which hooks this process has run.
struct Hooks {
    seen: Cell<&'static str>,
    hangs: bool,
}

impl ForkHooks for Hooks {
    fn before(&self) {
        if self.hangs {
            println!("hangs {}", std::process::id());
            std::thread::sleep(Duration::from_secs(600));
        }
        self.seen.set("before");
    }

    fn in_parent(&self) {
        self.seen.set("before, in parent");
    }

    fn in_child(&self) {
        assert_eq!(self.seen.replace("before, in child"), "before");
    }
}
