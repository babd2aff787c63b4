//! Finds a Django project, when no application is given.

use std::io;
use std::path::Path;

use super::application::is_dotted;
use crate::config::configuration::Target;
use crate::config::error::Error;

/// The variable for the settings module of a Django project.
const SETTINGS: &str = "DJANGO_SETTINGS_MODULE";

/// Finds the Django project in `folder`. As in `manage.py`, the environment overrides the default.
pub(crate) fn project(folder: &Path, settings: Option<&str>) -> Result<Target, Error> {
    let manage = folder.join("manage.py");
    let text = std::fs::read_to_string(&manage).map_err(|error| Error::NoApp {
        problem: match error.kind() {
            io::ErrorKind::NotFound => format!("there is no manage.py in {}", folder.display()),
            _ => format!("{}: {error}", manage.display()),
        },
    })?;
    match settings
        .map(str::to_owned)
        .or_else(|| default_settings(&text))
    {
        Some(settings) if is_dotted(&settings) => Ok(Target::Django { settings }),
        Some(settings) => Err(Error::NoApp {
            problem: format!("{SETTINGS} is {settings:?}, which is no module"),
        }),
        None => Err(Error::NoApp {
            problem: format!("{} sets no {SETTINGS}", manage.display()),
        }),
    }
}

/// The settings module among `variables`, or else in the server's own environment.
pub(crate) fn settings_among<'a>(
    variables: &'a [(String, String)],
    environment: &'a [(String, String)],
) -> Option<&'a str> {
    let find = |list: &'a [(String, String)]| list.iter().find(|(name, _)| name == SETTINGS);
    find(variables)
        .or_else(|| find(environment))
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

/// The settings module that a `manage.py` falls back to: the string after the name of the variable, in code.
fn default_settings(manage: &str) -> Option<String> {
    manage
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .find_map(|line| {
            let after = &line[line.find(SETTINGS)? + SETTINGS.len()..];
            // The closing quote of the variable's name, then the separator before its value.
            let value = after
                .get(1..)?
                .trim_start_matches([',', ']', '=', ' ', '\t']);
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            value[1..]
                .split_once(quote)
                .map(|(settings, _)| settings.to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_read_out_of_manage_py() {
        for (line, settings) in [
            (
                "    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')",
                Some("mysite.settings"),
            ),
            (
                "os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\",\"a.b\")",
                Some("a.b"),
            ),
            ("os.environ['DJANGO_SETTINGS_MODULE'] = 'a'", Some("a")),
            (
                "# os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'a')",
                None,
            ),
            ("print(os.environ['DJANGO_SETTINGS_MODULE'])", None),
            ("DJANGO_SETTINGS_MODULE", None),
            ("'DJANGO_SETTINGS_MODULE', 'open", None),
        ] {
            assert_eq!(default_settings(line).as_deref(), settings, "{line}");
        }
    }
}
