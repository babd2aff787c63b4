//! Text in columns.

/// Adds a name to a page, with its description in the column after it, or in the next line if the name is too long.
pub(crate) fn fill(page: &mut String, name: &str, column: usize, text: &str, width: usize) {
    let mut line = name.to_owned();
    if line.len() + 2 > column {
        *page += &line;
        page.push('\n');
        line.clear();
    }
    line = format!("{line:<width$}", width = column - 1);
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > width {
            *page += &line;
            page.push('\n');
            line = " ".repeat(column - 1);
        }
        line.push(' ');
        line += word;
    }
    *page += &line;
    page.push('\n');
}
