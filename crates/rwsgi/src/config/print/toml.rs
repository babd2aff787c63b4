//! What `--print-config` prints: the configuration in effect.

use super::help::version;
use crate::config::error::Origin;
use crate::config::sources::Given;
use crate::config::sources::given::Value;
use crate::config::spec::{Kind, Opt};
use crate::config::table::OPTIONS;
use crate::config::values::units::number;

/// The configuration in effect as a configuration file; a comment on each line tells where the value comes from.
///
/// Values that were not given are commented out: in the file they would count as given, which for `bind` makes a
/// difference.
pub(crate) fn page(given: &Given) -> String {
    let mut page = format!("# {}", version());
    for row in OPTIONS.iter().filter(|row| row.in_file()) {
        let values = given.of(row);
        let Some(first) = values.first() else {
            page += &format!("# {} is not set\n", row.name);
            continue;
        };
        let mark = if first.origin.is_given() { "" } else { "# " };
        page += &format!(
            "{mark}{} = {}  # {}\n",
            row.name,
            toml_value(row, values),
            origin(&first.origin)
        );
    }
    page
}

fn origin(origin: &Origin) -> String {
    // A path may contain characters that would end the comment.
    origin.to_string().replace(char::is_control, "?")
}

fn toml_value(row: &Opt, values: &[Value]) -> String {
    let mut texts = values.iter().map(|value| match row.kind {
        // Shown as it was parsed: TOML does not allow `007`.
        Kind::Count(..)
        | Kind::CountOr(..)
        | Kind::Size(..)
        | Kind::SizeOr(..)
        | Kind::Time(..) => {
            number(&value.text).map_or_else(|| quoted(&value.text), |number| number.to_string())
        }
        _ => quoted(&value.text),
    });
    if row.is_list() {
        format!("[{}]", texts.collect::<Vec<_>>().join(", "))
    } else {
        texts.next().unwrap_or_default()
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
