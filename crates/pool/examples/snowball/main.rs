//! The article's load spike in virtual time: each rule of growth with the same machine and the same requests.
//!
//! The rules are those of the server, [`rwsgi_pool::decide`]; machine, children and clients are a model (see `machine.rs` and
//! `site.rs`), in which everything is counted in whole microseconds and KiB. It uses no clock and no random numbers: each
//! run prints the same.
//!
//! Usage: `snowball` prints a Markdown table, `snowball csv` the course of each run, second by second.

#![forbid(unsafe_code)]

mod machine;
mod site;
mod traffic;

use std::error::Error;
use std::io::{self, Write};

use rwsgi_pool::{Elastic, Pool, Safe};

use machine::{MIB, Machine};
use site::{Import, Report, Site};
use traffic::{ARTICLE, COLD, Traffic};

/// Children of the fixed pool: what 512 MiB hold, and more than the spike needs.
const FIXED: u16 = 12;

/// The pools that are compared.
struct Arm {
    name: &'static str,
    import: Import,
    pool: fn(&Machine, Elastic) -> Pool,
}

const ARMS: [Arm; 6] = [
    Arm {
        name: "Apache, import in the first request",
        import: Import::FirstRequest,
        pool: apache,
    },
    Arm {
        name: "Apache, import before a child is ready",
        import: Import::Child,
        pool: apache,
    },
    Arm {
        name: "Apache, mold",
        import: Import::Mold,
        pool: apache,
    },
    Arm {
        name: "fixed pool of 12",
        import: Import::Child,
        pool: |_, _| Pool::Fixed { processes: FIXED },
    },
    Arm {
        name: "safe",
        import: Import::Child,
        pool: safe,
    },
    Arm {
        name: "safe, mold",
        import: Import::Mold,
        pool: safe,
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    match std::env::args().nth(1).as_deref() {
        None => {
            table(&mut out, &machines(), ARTICLE)?;
            writeln!(out)?;
            table(&mut out, &machines()[..1], COLD)?;
        }
        Some("csv") => course(&mut out)?,
        Some(_) => return Err("usage: snowball [csv]".into()),
    }
    Ok(())
}

/// Two machines of the article's time, with as much swap as memory, and a container of today.
fn machines() -> [(&'static str, Machine); 3] {
    [
        ("2 GiB", Machine::new(2048 * MIB, 2048 * MIB)),
        ("512 MiB", Machine::new(512 * MIB, 512 * MIB)),
        ("512 MiB, no swap", Machine::new(512 * MIB, 0)),
    ]
}

fn table(out: &mut impl Write, machines: &[(&str, Machine)], traffic: Traffic) -> io::Result<()> {
    writeln!(
        out,
        "| memory | rule | forks | s of CPU spent importing | children at most | MiB at most | killed for memory \
         | lost of {} | late | s until all is well |",
        traffic.requests()
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    for (memory, machine) in machines {
        for arm in &ARMS {
            let report = arm.site(*machine, traffic).run(|_| Ok(()))?;
            row(out, memory, arm.name, &report)?;
        }
    }
    Ok(())
}

fn row(out: &mut impl Write, memory: &str, name: &str, report: &Report) -> io::Result<()> {
    let well = match report.well_after {
        Some(0) => "at once".to_owned(),
        Some(seconds) => seconds.to_string(),
        None => "never".to_owned(),
    };
    writeln!(
        out,
        "| {memory} | {name} | {} | {}.{} | {} | {} | {} | {} | {} | {well} |",
        report.forks,
        report.importing / 1_000_000,
        report.importing / 100_000 % 10,
        report.children,
        report.memory / MIB,
        report.killed,
        report.lost,
        report.late,
    )
}

fn course(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "traffic,memory,rule,second,children,busy,importing,waiting,mib,answered,late,lost"
    )?;
    let article = machines().map(|(memory, machine)| ("article", memory, machine, ARTICLE));
    let (memory, machine) = machines()[0];
    for (traffic, memory, machine, requests) in
        article.into_iter().chain([("cold", memory, machine, COLD)])
    {
        for arm in &ARMS {
            arm.site(machine, requests).run(|now| {
                writeln!(
                    out,
                    "{traffic},\"{memory}\",\"{}\",{},{},{},{},{},{},{},{},{}",
                    arm.name,
                    now.second,
                    now.children,
                    now.busy,
                    now.importing,
                    now.waiting,
                    now.memory / MIB,
                    now.answered,
                    now.late,
                    now.lost,
                )
            })?;
        }
    }
    Ok(())
}

impl Arm {
    fn site(&self, machine: Machine, traffic: Traffic) -> Site {
        let pool = (self.pool)(&machine, traffic.elastic());
        Site::new(pool, self.import, machine, traffic)
    }
}

fn apache(_: &Machine, elastic: Elastic) -> Pool {
    Pool::Apache(elastic)
}

fn safe(machine: &Machine, elastic: Elastic) -> Pool {
    Pool::Safe(Safe {
        elastic,
        cores: machine.cores,
        memory_budget: Some(machine.memory / 10 * 9 * 1024),
    })
}
