//! The application and its surroundings as they are typed: APP, modules, URLs, variables, a Django project.

use std::io;
use std::path::{Path, PathBuf};

use super::config::Target;
use super::error::Error;

/// The variable that names a Django project's settings.
const SETTINGS: &str = "DJANGO_SETTINGS_MODULE";

/// Reads APP. The error is the end of a sentence, here and below.
///
/// `mysite.wsgi` may be a module or a file: it is a module here, and [`settle`] looks.
pub(super) fn parse(text: &str) -> Result<Target, String> {
    let is_file = |end: &str| text.strip_suffix(end).is_some_and(|stem| !stem.is_empty());
    if is_file(".py") || (is_file(".wsgi") && !is_dotted(text)) {
        return Ok(Target::File(PathBuf::from(text)));
    }
    let (module, callable) = match text.split_once(':') {
        Some((module, callable)) => (module, Some(callable)),
        None => (text, None),
    };
    if !is_dotted(module) || !callable.is_none_or(is_dotted) {
        return Err(
            "must be module:callable, module, or the path of a .wsgi or .py file".to_owned(),
        );
    }
    Ok(Target::Module {
        module: module.to_owned(),
        callable: callable.map(str::to_owned),
    })
}

/// Makes the path of a file absolute, and a file of what is the name of one in `folder`.
pub(super) fn settle(app: Target, folder: &Path) -> Result<Target, String> {
    let path = match &app {
        Target::File(path) => folder.join(path),
        Target::Module {
            module,
            callable: None,
        } if module.ends_with(".wsgi") && folder.join(module).is_file() => folder.join(module),
        Target::Module { .. } | Target::Django { .. } => return Ok(app),
    };
    if path.is_file() {
        Ok(Target::File(path))
    } else {
        Err(format!("is not a file in {}", folder.display()))
    }
}

/// Checks the dotted name of a module.
pub(super) fn check_dotted(text: &str) -> Result<(), String> {
    if is_dotted(text) {
        Ok(())
    } else {
        Err("must be the dotted name of a module".to_owned())
    }
}

/// Checks a path or URL to request.
pub(super) fn check_url(text: &str) -> Result<(), String> {
    let begins = ["/", "http://", "https://"]
        .iter()
        .any(|begin| text.starts_with(begin));
    if begins && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be a path that begins with / or a URL, percent-encoded".to_owned())
    }
}

/// Reads a mount point; the slash at its end is dropped.
pub(super) fn mount_point(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    if !path.is_empty() && !path.starts_with('/') {
        return Err("must begin with /".to_owned());
    }
    if path.contains(['?', '#']) || path.contains("//") || path.chars().any(char::is_control) {
        return Err("must be a plain path".to_owned());
    }
    Ok(path.to_owned())
}

/// Reads a variable and its value.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

/// Reads the variables of an environment file, or says which line is wrong.
pub(super) fn variables(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (name, value) = variable(line).map_err(|problem| (index + 1, problem))?;
        variables.push((
            name.trim_end().to_owned(),
            unquoted(value.trim_start()).to_owned(),
        ));
    }
    Ok(variables)
}

/// Finds the Django project of `folder`. As in `manage.py` itself, the environment comes before its default.
pub(super) fn of_django_project(folder: &Path, settings: Option<&str>) -> Result<Target, Error> {
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
pub(super) fn django_settings<'a>(
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
            // What closes the variable's own quotes, then what separates it from its value.
            let value = after
                .get(1..)?
                .trim_start_matches([',', ']', '=', ' ', '\t']);
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            value[1..]
                .split_once(quote)
                .map(|(settings, _)| settings.to_owned())
        })
}

fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

fn unquoted(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_a_module_or_a_file() {
        let module = |module: &str, callable: Option<&str>| {
            Ok(Target::Module {
                module: module.to_owned(),
                callable: callable.map(str::to_owned),
            })
        };
        assert_eq!(parse("mysite.wsgi"), module("mysite.wsgi", None));
        assert_eq!(
            parse("mysite.wsgi:application"),
            module("mysite.wsgi", Some("application"))
        );
        assert_eq!(parse("a:b.c"), module("a", Some("b.c")));
        for text in ["dir/app.py", "app.py", "dir/site.wsgi", "my-site.wsgi"] {
            assert_eq!(parse(text), Ok(Target::File(text.into())));
        }
        for text in [
            "",
            ":",
            "a:",
            ":app",
            "a..b",
            "1a",
            "a b",
            "dir/app",
            "a:b:c",
            ".py",
            ".wsgi",
            "a:create()",
            "-",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mount_point_has_no_slash_at_its_end() {
        for (text, path) in [("", ""), ("/", ""), ("/a", "/a"), ("/a/b/", "/a/b")] {
            assert_eq!(mount_point(text).as_deref(), Ok(path));
        }
        for text in ["a", "/a?b", "/a#b", "/a//b", "/a\n"] {
            assert!(mount_point(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_warm_up_is_a_path_or_a_url() {
        for text in [
            "/",
            "/a?b=c%20d",
            "http://localhost/",
            "https://a.example/b",
        ] {
            assert_eq!(check_url(text), Ok(()), "{text}");
        }
        for text in ["", "a", "ftp://a/", "/a b", "/\u{e9}"] {
            assert!(check_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_environment_file_is_read_as_it_stands() {
        let text = "# note\n\nA=1\nexport B = \"two words\"\nC='$A'\nD=a=\"b\"\nE=\n";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$A"),
            ("D", "a=\"b\""),
            ("E", ""),
        ];
        assert_eq!(
            variables(text),
            Ok(expected
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec())
        );
        assert_eq!(
            variables("A=1\n=2\n"),
            Err((2, "must be NAME=VALUE".to_owned()))
        );
        assert_eq!(
            variables("nothing"),
            Err((1, "must be NAME=VALUE".to_owned()))
        );
    }

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
