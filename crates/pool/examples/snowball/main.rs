//! The article's load spike in virtual time: what each rule of growth makes of the same machine and the same requests.
//!
//! The rules are those of the server, [`rwsgi_pool::decide`]; machine, children and clients are a model (see `machine.rs` and
//! `site.rs`), in which everything is counted in whole microseconds and KiB. It has no clock and no chance: each run prints
//! the same.
//!
//! Usage: `snowball` prints a Markdown table, `snowball csv` the course of each run, second by second.

#![forbid(unsafe_code)]

mod machine;
mod site;

use std::error::Error;
use std::io::{self, Write};

use rwsgi_pool::{Directives, Elastic, Mpm, Pool, Safe};

use machine::{MIB, Machine};
use site::{Import, Report, Site};

/// Children of the fixed pool: what 512 MiB hold, and more than the spike needs.
const FIXED: u16 = 12;

/// What is compared.
struct Arm {
    name: &'static str,
    import: Import,
    pool: fn(&Machine) -> Pool,
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
        pool: |_| Pool::Fixed { processes: FIXED },
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
        None => table(&mut out)?,
        Some("csv") => course(&mut out)?,
        Some(_) => return Err("usage: snowball [csv]".into()),
    }
    Ok(())
}

/// Two of the article's time, with as much swap as memory, and a container of today.
fn machines() -> [(&'static str, Machine); 3] {
    [
        ("2 GiB", Machine::new(2048 * MIB, 2048 * MIB)),
        ("512 MiB", Machine::new(512 * MIB, 512 * MIB)),
        ("512 MiB, no swap", Machine::new(512 * MIB, 0)),
    ]
}

fn table(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "| memory | rule | forks | s of CPU spent importing | children at most | MiB at most | killed for memory \
         | lost of {} | late | s until all is well |",
        Site::requests()
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    for (memory, machine) in machines() {
        for arm in &ARMS {
            let report = Site::new((arm.pool)(&machine), arm.import, machine).run(|_| Ok(()))?;
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
        "memory,rule,second,children,busy,importing,waiting,mib,answered,late,lost"
    )?;
    for (memory, machine) in machines() {
        for arm in &ARMS {
            Site::new((arm.pool)(&machine), arm.import, machine).run(|now| {
                writeln!(
                    out,
                    "\"{memory}\",\"{}\",{},{},{},{},{},{},{},{},{}",
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

/// The article's numbers: 5 children at the start, 5 to 10 spare, 150 at most.
fn article() -> Elastic {
    Directives::of_2009(Mpm::Prefork).correct(None).0
}

fn apache(_: &Machine) -> Pool {
    Pool::Apache(article())
}

fn safe(machine: &Machine) -> Pool {
    Pool::Safe(Safe {
        elastic: article(),
        cores: machine.cores,
        memory_budget: Some(machine.memory / 10 * 9 * 1024),
    })
}
