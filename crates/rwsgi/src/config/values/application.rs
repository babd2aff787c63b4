//! The application as it is typed: APP, modules, URLs.

use std::path::{Path, PathBuf};

use crate::config::configuration::Target;

/// What APP must be.
const FORMS: &str =
    "must be module:callable, module:factory(), module, or the path of a .wsgi or .py file";

/// Reads APP, whose path is taken from `folder`.
pub(crate) fn find(text: &str, folder: &Path) -> Result<Target, String> {
    settle(parse(text)?, folder)
}

/// Reads APP. The error is the end of a sentence, here and below.
///
/// `mysite.wsgi` may be a module or a file: it is a module here, and [`settle`] looks.
fn parse(text: &str) -> Result<Target, String> {
    let (place, callable) = match text.split_once(':') {
        Some((place, callable)) => (place, Some(callable)),
        None => (text, None),
    };
    let is_file = |end: &str| place.strip_suffix(end).is_some_and(|stem| !stem.is_empty());
    let is_path = is_file(".py") || (is_file(".wsgi") && !is_dotted(place));
    if !(is_path || is_dotted(place)) || !callable.is_none_or(is_callable) {
        return Err(FORMS.to_owned());
    }
    let callable = callable.map(str::to_owned);
    Ok(if is_path {
        Target::File {
            path: PathBuf::from(place),
            callable,
        }
    } else {
        Target::Module {
            module: place.to_owned(),
            callable,
        }
    })
}

/// Makes the path of a file absolute, and a file of what is the name of one in `folder`.
fn settle(app: Target, folder: &Path) -> Result<Target, String> {
    let (path, callable) = match app {
        Target::File { path, callable } => (folder.join(path), callable),
        Target::Module { module, callable }
            if module.ends_with(".wsgi") && folder.join(&module).is_file() =>
        {
            (folder.join(module), callable)
        }
        app => return Ok(app),
    };
    if path.is_file() {
        Ok(Target::File { path, callable })
    } else {
        Err(format!("is not a file in {}", folder.display()))
    }
}

/// Reads FILE or FILE#NAME of PasteDeploy, whose path is taken from `folder`.
pub(crate) fn find_paste(text: &str, folder: &Path) -> Result<Target, String> {
    let whole = folder.join(text);
    let (path, name) = match text.rsplit_once('#') {
        // A file may have such a name.
        Some((file, name)) if !whole.is_file() => (folder.join(file), Some(name.to_owned())),
        _ => (whole, None),
    };
    if name.as_ref().is_some_and(String::is_empty) {
        return Err(
            "must be FILE, or FILE#NAME for another application of it than main".to_owned(),
        );
    }
    if path.is_file() {
        Ok(Target::Paste { path, name })
    } else {
        Err(format!("is not a file in {}", folder.display()))
    }
}

/// Checks the dotted name of a module.
pub(crate) fn check_dotted(text: &str) -> Result<(), String> {
    if is_dotted(text) {
        Ok(())
    } else {
        Err("must be the dotted name of a module".to_owned())
    }
}

/// Checks a path or URL to request.
pub(crate) fn check_url(text: &str) -> Result<(), String> {
    let begins = ["/", "http://", "https://"]
        .iter()
        .any(|begin| text.starts_with(begin));
    if begins && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be a path that begins with / or a URL, percent-encoded".to_owned())
    }
}

/// The text is the name of an attribute, or its call. The arguments are read where Python runs.
fn is_callable(text: &str) -> bool {
    match text.split_once('(') {
        Some((name, rest)) => is_dotted(name) && rest.ends_with(')'),
        None => is_dotted(text),
    }
}

/// The text is the dotted name of a module.
pub(crate) fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
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
        for call in [
            "create_app()",
            "site.make(\"a:b\", debug=True)",
            "f((1, 2))",
        ] {
            assert_eq!(parse(&format!("shop:{call}")), module("shop", Some(call)));
        }
        for text in ["dir/app.py", "app.py", "dir/site.wsgi", "my-site.wsgi"] {
            for callable in [None, Some("app"), Some("create_app(':', 1)")] {
                let named = callable
                    .map_or_else(|| text.to_owned(), |callable| format!("{text}:{callable}"));
                let expected = Target::File {
                    path: text.into(),
                    callable: callable.map(str::to_owned),
                };
                assert_eq!(parse(&named), Ok(expected));
            }
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
            "app.py:",
            "app.py:a b",
            "a/b:app",
            "a:create(",
            "a:create)",
            "a:create().app",
            "a:()",
            "a()",
            "-",
        ] {
            assert!(parse(text).is_err(), "{text}");
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
}
