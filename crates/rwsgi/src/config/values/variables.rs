//! Environment variables of the application: a single one, and those of a file.

/// Parses a variable and its value.
pub(crate) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

/// Parses an environment file; the error has the number of the line.
pub(crate) fn variables(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
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

fn unquoted(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
