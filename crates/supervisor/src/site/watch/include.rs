//! What is watched besides modules: files, folders and patterns.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// `*` does not match `/`, as in a shell; names that begin with a dot are matched like others.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Files whose changes are reported.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Include(pub(crate) Target);

/// A watched target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A file, or a folder with its whole content.
    Path(PathBuf),
    /// The files whose paths match.
    Matching {
        /// The folder that contains them.
        folder: PathBuf,
        /// The pattern for their full paths.
        pattern: Pattern,
        /// The depth of subfolders; `None` for any depth.
        depth: Option<usize>,
        /// Folders whose names begin with a dot are included.
        hidden: bool,
    },
}

impl Include {
    /// A file or a folder.
    #[must_use]
    pub fn path(path: PathBuf) -> Self {
        Self(Target::Path(path))
    }

    /// A glob pattern relative to a folder; a path without `*`, `?` and `[` is a file or a folder.
    ///
    /// # Errors
    /// When the pattern is invalid, with the reason as the end of a sentence.
    pub fn matching(folder: &Path, text: &str) -> Result<Self, String> {
        let is_plain = |part: &&str| !part.contains(['*', '?', '[']);
        // The library gives only an approximate position.
        let wrong = |problem: glob::PatternError| format!("is no pattern: {}", problem.msg);
        Pattern::new(text).map_err(wrong)?;
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let parts: Vec<&str> = text.split('/').collect();
        let plain = parts.iter().take_while(|part| is_plain(part)).count();
        if plain == parts.len() {
            return Ok(Self::path(folder.join(text)));
        }
        let begin = parts[..plain].join("/");
        let folder = if plain == 1 && begin.is_empty() {
            PathBuf::from("/")
        } else {
            folder.join(begin)
        };
        let rest = parts[plain..].join("/");
        // The folder is escaped because it is not a pattern. A folder that is not UTF-8 matches nothing, because
        // patterns are text.
        let whole = Pattern::escape(&folder.join("").to_string_lossy()) + &rest;
        Ok(Self(Target::Matching {
            folder,
            pattern: Pattern::new(&whole).map_err(wrong)?,
            depth: (!parts.contains(&"**")).then(|| parts.len() - plain - 1),
            hidden: rest.split('/').any(|part| part.starts_with('.')),
        }))
    }
}

impl Target {
    /// The file or folder at which watching starts.
    pub(super) fn root(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Matching { folder, .. } => folder,
        }
    }

    /// Whether a change of this file counts.
    pub(super) fn counts(&self, path: &Path) -> bool {
        match self {
            Self::Path(_) => true,
            Self::Matching { pattern, .. } => pattern.matches_path_with(path, OPTIONS),
        }
    }

    /// Whether files below this folder, at this depth, can match.
    pub(super) fn reaches(&self, folder: &Path, depth: usize) -> bool {
        match self {
            Self::Path(_) => true,
            Self::Matching {
                depth: most,
                hidden,
                ..
            } => {
                let name = folder.file_name().unwrap_or_default();
                most.is_none_or(|most| depth <= most)
                    && (*hidden || !name.as_bytes().starts_with(b"."))
                    && name != "node_modules"
                    && !folder.join("pyvenv.cfg").exists()
            }
        }
    }
}

/// Files that Python, editors and version control write beside the actual files.
pub(super) fn is_aside(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let whole: [&[u8]; 6] = [
        b"__pycache__",
        b".git",
        b".hg",
        b".svn",
        b"4913",
        b".DS_Store",
    ];
    let begins: [&[u8]; 3] = [b".#", b".goutputstream-", b".~lock."];
    let ends: [&[u8]; 8] = [
        b"~",
        b".swp",
        b".swo",
        b".swx",
        b".pyc",
        b".pyo",
        b"___jb_tmp___",
        b"___jb_old___",
    ];
    whole.contains(&name)
        || begins.iter().any(|begin| name.starts_with(begin))
        || ends.iter().any(|end| name.ends_with(end))
        || (name.starts_with(b"#") && name.ends_with(b"#"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(text: &str) -> Target {
        Include::matching(Path::new("/srv/[1]"), text).unwrap().0
    }

    #[test]
    fn a_pattern_is_that_of_a_shell() {
        for (text, path, counts) in [
            ("*.env", "/srv/[1]/a.env", true),
            ("*.env", "/srv/[1]/.env", true),
            ("*.env", "/srv/[1]/a/b.env", false),
            ("*.env", "/srv/1/a.env", false),
            ("templates/**/*.html", "/srv/[1]/templates/a.html", true),
            ("templates/**/*.html", "/srv/[1]/templates/a/b/c.html", true),
            ("templates/**/*.html", "/srv/[1]/templates/a.txt", false),
            ("**/*.[hj]*", "/srv/[1]/a/b.js", true),
            ("/etc/site/*.ini", "/etc/site/a.ini", true),
            ("../shared/*", "/srv/[1]/../shared/a", true),
            ("/*.ini", "/a.ini", true),
        ] {
            assert_eq!(
                matching(text).counts(Path::new(path)),
                counts,
                "{text} {path}"
            );
        }
    }

    #[test]
    fn only_folders_that_can_match_are_searched() {
        for (text, root, deep) in [
            ("*.env", "/srv/[1]", Some(0)),
            ("a/*/b/*.c", "/srv/[1]/a", Some(2)),
            ("a/**", "/srv/[1]/a", None),
            ("/*/x", "/", Some(1)),
        ] {
            let Target::Matching { folder, depth, .. } = matching(text) else {
                panic!("{text} is no pattern");
            };
            assert_eq!((folder.as_path(), depth), (Path::new(root), deep), "{text}");
        }
        let target = matching("**/*.html");
        for (folder, reaches) in [
            ("/srv/[1]/a", true),
            ("/srv/[1]/.venv", false),
            ("/srv/[1]/node_modules", false),
        ] {
            assert_eq!(target.reaches(Path::new(folder), 1), reaches, "{folder}");
        }
        assert!(matching("**/.well-known/*").reaches(Path::new("/srv/[1]/.well-known"), 1));
        assert_eq!(matching("a/b"), Target::Path("/srv/[1]/a/b".into()));
    }

    #[test]
    fn an_invalid_pattern_is_explained() {
        let wrong = |text| Include::matching(Path::new("/"), text).unwrap_err();
        assert_eq!(
            wrong("a/**b"),
            "is no pattern: recursive wildcards must form a single path component"
        );
        assert_eq!(wrong("[a"), "is no pattern: invalid range pattern");
        assert_eq!(wrong(""), "must not be empty");
    }

    #[test]
    fn temporary_files_are_recognized_by_name() {
        for name in [
            "__pycache__",
            ".git",
            ".a.py.swp",
            "a.py~",
            ".#a.py",
            "#a.py#",
            "a.pyc",
            "4913",
        ] {
            assert!(is_aside(OsStr::new(name)), "{name}");
        }
        for name in ["a.py", ".env", ".gitignore", "git", "a.swift"] {
            assert!(!is_aside(OsStr::new(name)), "{name}");
        }
    }
}
