//! Prints results: text for people, or one JSON value with `--json`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use ephyr_chain::Shown;
use serde::Serialize;

use crate::failure::Failure;

/// Prints results and failures in the selected format.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the format is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints `value` as JSON, or the text that `text` returns.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(crate) fn show<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let mut text = if self.json {
            serde_json::to_string(value).map_err(Failure::protocol)?
        } else {
            text()
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        self.raw(text.as_bytes())
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// The output cannot be written.
    #[expect(
        clippy::unused_self,
        reason = "only code that was given the output may print"
    )]
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            // The reader, such as `head`, has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::new(
                crate::failure::CANNOT_CREATE,
                "output",
                format!("standard output cannot be written: {error}"),
            )),
            Ok(()) => Ok(()),
        }
    }

    /// Prints a value on standard error that explains why standard output is empty or incomplete.
    pub(crate) fn show_on_stderr<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        let text = if self.json {
            serde_json::to_string(value).unwrap_or_default()
        } else {
            plain_lines(&text())
        };
        // A failure to write to standard error cannot be reported.
        let _ = writeln!(io::stderr(), "{}", text.trim_end());
    }

    /// Prints a note on standard error, unless the format is JSON: there the value contains the same.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            // A failure to write to standard error cannot be reported.
            let _ = writeln!(io::stderr(), "ephyr: {}", plain_lines(text));
        }
    }

    /// Prints a failure on standard error and returns its exit status.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let text = if self.json {
            serde_json::to_string(failure).unwrap_or_default()
        } else {
            plain_lines(&format!("ephyr: {failure}"))
        };
        // A failure to write to standard error cannot be reported.
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::from(failure.exit())
    }
}

/// Formats a table with aligned columns.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let gap = width.saturating_sub(cell.chars().count()) + 2;
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', gap));
        }
        text.trim_end().to_owned() + "\n"
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    std::iter::once(&head)
        .chain(rows)
        .map(|cells| line(cells))
        .collect()
}

/// Escapes control characters in untrusted text, so that it cannot control the terminal.
pub(crate) fn plain(text: &str) -> String {
    Shown(text).to_string()
}

/// Like [`plain`], but keeps line breaks.
fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_is_as_wide_as_its_widest_cell() {
        let rows = [
            vec!["a".into(), "x".into()],
            vec!["longer".into(), "y".into()],
        ];
        assert_eq!(
            table(&["N", "V"], &rows),
            "N       V\na       x\nlonger  y\n"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(plain("\u{202e}é\u{200b}"), "\\u{202e}é\\u{200b}");
    }
}
