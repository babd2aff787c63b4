//! The path under which an application is mounted.

/// Parses a mount point; a trailing slash is dropped.
pub(crate) fn mount_point(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    if !path.is_empty() && !path.starts_with('/') {
        return Err("must begin with /".to_owned());
    }
    if path.contains(['?', '#']) || path.contains("//") || path.chars().any(char::is_control) {
        return Err("must be a plain path".to_owned());
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_has_no_slash_at_its_end() {
        for (text, path) in [("", ""), ("/", ""), ("/a", "/a"), ("/a/b/", "/a/b")] {
            assert_eq!(mount_point(text).as_deref(), Ok(path));
        }
        for text in ["a", "/a?b", "/a#b", "/a//b", "/a\n"] {
            assert!(mount_point(text).is_err(), "{text:?}");
        }
    }
}
