//! What is watched over beside modules: files, folders, and what matches a pattern.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// `*` stays within one part of a path, as in a shell; a name that begins with a dot is one like others.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// What a change is heard of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Include(pub(crate) Target);

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A file, or a folder with all that is in it.
    Path(PathBuf),
    /// The files whose paths match.
    Matching {
        /// The folder in which they are.
        folder: PathBuf,
        /// Its path and theirs.
        pattern: Pattern,
        /// How many folders deep below that folder; without, any number.
        depth: Option<usize>,
        /// Folders whose names begin with a dot are looked into.
        hidden: bool,
    },
}

impl Include {
    /// A file or a folder.
    #[must_use]
    pub fn path(path: PathBuf) -> Self {
        Self(Target::Path(path))
    }

    /// What a pattern of a shell matches, relative to a folder; a path without `*`, `?` and `[` is a file or a folder.
    ///
    /// # Errors
    /// What is wrong with the pattern, as the end of a sentence.
    pub fn matching(folder: &Path, text: &str) -> Result<Self, String> {
        let is_plain = |part: &&str| !part.contains(['*', '?', '[']);
        // Where in the pattern, the library tells only roughly.
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
        // The folder is a name and no pattern. One that is not UTF-8 matches nothing, since patterns are text.
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
    /// The file or folder that is looked at first.
    pub(super) fn root(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Matching { folder, .. } => folder,
        }
    }

    /// A file of this path that changes is a change.
    pub(super) fn counts(&self, path: &Path) -> bool {
        match self {
            Self::Path(_) => true,
            Self::Matching { pattern, .. } => pattern.matches_path_with(path, OPTIONS),
        }
    }

    /// Files below this folder can be meant, which is so many folders deep.
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

/// What Python, editors and version control write beside the files that they are about.
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
    fn it_is_looked_for_where_it_can_match() {
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
    fn what_is_no_pattern_is_explained() {
        let wrong = |text| Include::matching(Path::new("/"), text).unwrap_err();
        assert_eq!(
            wrong("a/**b"),
            "is no pattern: recursive wildcards must form a single path component"
        );
        assert_eq!(wrong("[a"), "is no pattern: invalid range pattern");
        assert_eq!(wrong(""), "must not be empty");
    }

    #[test]
    fn what_programs_write_aside_is_told_by_its_name() {
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
