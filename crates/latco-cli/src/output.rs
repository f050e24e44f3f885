//! What a command prints: one report on standard output, everything else on standard error.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
    path::Path,
};

use serde::{Serialize, Serializer};

use crate::{arguments::Common, error::CliError, system::in_words};

/// What a command has found, ready to be printed either way.
pub struct Report {
    json: String,
    text: String,
}

impl Report {
    /// A report with `value` for programs and `text` for people.
    pub fn new(value: &impl Serialize, text: impl Into<String>) -> Result<Self, CliError> {
        Ok(Self {
            json: serde_json::to_string(value)?,
            text: text.into(),
        })
    }

    /// Prints the report.
    pub fn print(&self, json: bool) -> Result<(), CliError> {
        print(if json { &self.json } else { &self.text })
    }
}

/// Prints `text` and the end of its last line; a reader that has gone away is no error.
pub fn print(text: &impl Display) -> Result<(), CliError> {
    let text = text.to_string();
    let mut output = io::stdout().lock();
    match writeln!(output, "{}", text.trim_end()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Writes a line on standard error; where nobody listens any more, that is no reason to stop.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Tells on standard error what the user should not overlook.
pub fn warn(message: impl AsRef<str>) {
    tell(format_args!("warning: {}", one_line(message.as_ref())));
}

/// A message without its line breaks and their indentation; spaces within a line, as of a path, stay.
pub fn one_line(message: &str) -> String {
    let message = in_words(message);
    let lines = message.lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// Tells on standard error what is good to know, unless `--quiet`.
pub fn note(common: &Common, message: impl AsRef<str>) {
    if !common.quiet {
        tell(message.as_ref());
    }
}

/// A path in a report: names that are no text, which JSON cannot hold, get signs in place of what is
/// not.
pub fn path_text<S: Serializer>(path: &impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.as_ref().to_string_lossy())
}

/// As [`path_text`], of several.
pub fn path_texts<P: AsRef<Path>, S: Serializer>(
    paths: &impl AsRef<[P]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let texts = paths
        .as_ref()
        .iter()
        .map(|path| path.as_ref().to_string_lossy());
    serializer.collect_seq(texts)
}

/// As [`path_text`], of one that may be missing.
pub fn optional_path_text<S: Serializer>(
    path: &Option<impl AsRef<Path>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = path.as_ref().map(|path| path.as_ref().to_string_lossy());
    text.serialize(serializer)
}

/// Lines of a name and a value, values aligned.
pub fn aligned<Name: AsRef<str>>(rows: &[(Name, String)]) -> String {
    let width = |name: &str| name.chars().count();
    let widest = rows.iter().map(|(name, _)| width(name.as_ref())).max();
    rows.iter().fold(String::new(), |text, (name, value)| {
        let name = name.as_ref();
        let gap = " ".repeat(widest.unwrap_or(0) - width(name) + 2);
        text + name + &gap + value + "\n"
    })
}

/// Rows of cells in columns: the first `names` of them aligned left, the figures after them right.
pub fn table(names: usize, rows: &[Vec<String>]) -> String {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    rows.iter().fold(String::new(), |text, row| {
        let cells = row.iter().zip(&widths).enumerate();
        let padded = cells.map(|(column, (cell, &width))| match column < names {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        text + padded.collect::<Vec<_>>().join("  ").trim_end() + "\n"
    })
}

/// A count with its digits in groups of three.
pub fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned() {
        let rows = [("a", "1".to_owned()), ("long", "2".to_owned())];
        assert_eq!(aligned(&rows), "a     1\nlong  2\n");
        assert_eq!(aligned::<&str>(&[]), "");
    }

    #[test]
    fn tables_have_names_on_the_left_and_figures_on_the_right() {
        let rows = [["name", "ms"], ["a", "1.5"], ["long name", "10"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let expected = "name        ms\na          1.5\nlong name   10\n";
        assert_eq!(table(1, &rows), expected);
        assert_eq!(table(1, &[]), "");
    }

    #[test]
    fn counts_are_grouped() {
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
