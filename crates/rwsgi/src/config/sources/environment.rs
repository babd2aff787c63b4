//! What the variables `RWSGI_*` give.

use super::given::{Entries, Value};
use crate::config::error::{Error, Origin};
use crate::config::spec::Opt;
use crate::config::table::{OPTIONS, nearest_to};

/// What the names of our variables begin with.
pub(crate) const PREFIX: &str = "RWSGI_";

/// Picks our variables. An empty one counts as not given; a list is separated by commas.
pub(crate) fn read(env: &[(String, String)]) -> Result<Entries, Error> {
    let mut given = Entries::new();
    for (name, text) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let place = Origin::Environment(name.clone());
        let row = OPTIONS.iter().find(|row| row.is_variable(name));
        let row = row.ok_or_else(|| unknown(rest, name, place.clone()))?;
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
                    origin: place.clone(),
                },
            ));
        }
    }
    Ok(given)
}

fn unknown(rest: &str, name: &str, place: Origin) -> Error {
    let typed = rest.to_lowercase().replace('_', "-");
    let nearest = nearest_to(&typed, |row| row.variable().is_some()).and_then(Opt::variable);
    Error::Unknown {
        what: "variable",
        name: name.to_owned(),
        place,
        nearest,
    }
}
