//! The status of a server as a table and as JSON.

use std::fmt::Write;

use supervisor::control::{Process, Status};

/// A JSON object; what could not be measured is `null`.
pub(super) fn json(status: &Status) -> String {
    // A status can always be written as JSON.
    let mut text = serde_json::to_string_pretty(status).unwrap_or_default();
    text.push('\n');
    text
}

/// Two lines about the server, then a table of its processes.
pub(super) fn table(status: &Status) -> String {
    let mut text = format!(
        "rwsgi {} {} {}{}{}\n{} busy, {} idle, {} waiting\n\n",
        status.version,
        status.state,
        status.application,
        if status.urls.is_empty() { "" } else { " on " },
        status.urls.join(" "),
        status.busy,
        status.idle,
        status.waiting,
    );
    let mut rows = vec![
        [
            "process", "pid", "gen", "state", "busy", "served", "age", "private",
        ]
        .map(str::to_owned),
    ];
    let nothing = || "-".to_owned();
    let mut add = |name: String, process: &Process, own: [String; 4]| {
        let [generation, state, busy, served] = own;
        let pid = match process.pid {
            0 => nothing(),
            pid => pid.to_string(),
        };
        let age = process.age_seconds.map_or_else(nothing, age);
        let private = process.private_bytes.map_or_else(nothing, memory);
        rows.push([name, pid, generation, state, busy, served, age, private]);
    };
    let (supervisor, state) = (&status.supervisor.process, status.state.clone());
    add(
        "supervisor".to_owned(),
        supervisor,
        [nothing(), state, nothing(), nothing()],
    );
    if let Some(front) = &status.front {
        let own = [nothing(), front.state.clone(), nothing(), nothing()];
        add("front".to_owned(), &front.process, own);
    }
    for (name, mold) in [("mold", &status.mold), ("next mold", &status.next_mold)] {
        let Some(mold) = mold else { continue };
        let own = [
            mold.generation.to_string(),
            mold.state.clone(),
            nothing(),
            nothing(),
        ];
        add(name.to_owned(), &mold.process, own);
    }
    for child in &status.children {
        let busy = format!("{}/{}", child.busy, status.threads);
        let own = [
            child.generation.to_string(),
            child.state.clone(),
            busy,
            child.served.to_string(),
        ];
        add(format!("child {}", child.slot), &child.process, own);
    }
    text.push_str(&aligned(&rows));
    text
}

/// Columns as wide as their widest entry: text left-aligned, numbers right-aligned.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (entry, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string does not fail.
            let _ = match column {
                0 | 3 => write!(line, "{entry:<width$}  "),
                _ => write!(line, "{entry:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A duration in its two largest units.
fn age(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an age is neither negative nor longer than the universe's"
    )]
    let seconds = seconds as u64;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours / 24, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        (days, ..) => format!("{days}d{:02}h", hours % 24),
    }
}

/// An amount of memory in MiB.
fn memory(bytes: u64) -> String {
    let tenths = (bytes * 10).div_ceil(1024 * 1024);
    format!("{}.{}M", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use supervisor::SiteId;
    use supervisor::control::{ChildStatus, FrontStatus, SupervisorStatus};

    fn process(pid: u32, age_seconds: f64, private_bytes: u64) -> Process {
        Process {
            pid,
            age_seconds: Some(age_seconds),
            private_bytes: Some(private_bytes),
        }
    }

    #[test]
    fn the_table_names_each_process() {
        let status = Status {
            version: "1.2.3".to_owned(),
            application: "shop".to_owned(),
            urls: vec!["http://127.0.0.1:8000".to_owned()],
            state: "serving".to_owned(),
            generation: 2,
            size: 1,
            threads: 4,
            busy: 3,
            idle: 1,
            waiting: 0,
            supervisor: SupervisorStatus {
                process: process(71, 3725.0, 1_100_000),
            },
            front: Some(FrontStatus {
                process: Process::of(72),
                state: "serving".to_owned(),
            }),
            mold: None,
            next_mold: None,
            children: vec![ChildStatus {
                slot: 11,
                process: process(1234, 59.9, 26 << 20),
                site: SiteId::default(),
                generation: 2,
                state: "ready".to_owned(),
                busy: 3,
                served: 1002,
            }],
            sites: Vec::new(),
        };
        let table = "\
rwsgi 1.2.3 serving shop on http://127.0.0.1:8000
3 busy, 1 idle, 0 waiting

process      pid  gen  state    busy  served    age  private
supervisor    71    -  serving     -       -  1h02m     1.1M
front         72    -  serving     -       -      -        -
child 11    1234    2  ready     3/4    1002    59s    26.0M
";
        assert_eq!(super::table(&status), table);
        let again: Status = serde_json::from_str(&json(&status)).unwrap();
        assert_eq!(again, status);
    }
}
