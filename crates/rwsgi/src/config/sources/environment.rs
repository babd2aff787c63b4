//! Options from the environment: variables `RWSGI_*`, and those of hosting platforms.

use super::given::{Entries, Value};
use crate::config::error::{Origin, hint};
use crate::config::rows::listening::BIND;
use crate::config::rows::processes::PROCESSES;
use crate::config::spec::Opt;
use crate::config::table::{OPTIONS, nearest_to};

/// The prefix of the server's variables.
pub(crate) const PREFIX: &str = "RWSGI_";

/// The prefixes of values that Kubernetes and Docker give to variables named after services.
const OF_SERVICES: [&str; 3] = ["tcp://", "udp://", "sctp://"];

/// Selects the server's variables. An empty one counts as not given; lists are separated by commas. The second
/// value has the unknown names: a Kubernetes service named rwsgi sets several such variables, so they are no error.
pub(crate) fn read(env: &[(String, String)]) -> (Entries, Vec<String>) {
    let (mut given, mut ignored) = (Entries::new(), Vec::new());
    for (name, text) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if OF_SERVICES.iter().any(|begin| text.starts_with(begin)) {
            ignored.push(name.clone());
            continue;
        }
        let Some(row) = OPTIONS.iter().find(|row| row.is_variable(name)) else {
            let typed = rest.to_lowercase().replace('_', "-");
            let nearest = nearest_to(&typed, |row| row.variable().is_some());
            let hint = hint(nearest.and_then(Opt::variable));
            ignored.push(format!("{name}{hint}"));
            continue;
        };
        let texts: Vec<&str> = if row.is_list() {
            text.split(',').map(str::trim).collect()
        } else {
            vec![text]
        };
        for text in texts.into_iter().filter(|text| !text.is_empty()) {
            given.push((
                row,
                Value {
                    text: text.to_owned(),
                    origin: Origin::Environment(name.clone()),
                },
            ));
        }
    }
    // The order of the environment is arbitrary.
    ignored.sort();
    (given, ignored)
}

/// Variables of Heroku, Cloud Run and others: the port to listen on, and the number of processes for the machine.
pub(crate) fn platform(env: &[(String, String)]) -> Entries {
    let given = |name| {
        let (_, text) = env.iter().find(|(other, _)| other == name)?;
        (!text.is_empty()).then_some(text)
    };
    let value = |name, text| Value {
        text,
        origin: Origin::Platform(name),
    };
    let port = given("PORT").map(|port| (&BIND, value("PORT", format!(":{port}"))));
    let processes = given("WEB_CONCURRENCY")
        .map(|number| (&PROCESSES, value("WEB_CONCURRENCY", number.clone())));
    port.into_iter().chain(processes).collect()
}
