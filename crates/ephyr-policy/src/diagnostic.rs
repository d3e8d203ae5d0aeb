//! Findings about a policy, each with its position, its key path and what to do.

use std::fmt;

use serde::Serialize;

/// Whether a finding refuses the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is accepted; an operator should check the finding.
    Warning,
}

/// A position in the file. Both count from 1, the column in characters; line 0 means the whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Place {
    /// Returns `line N` for messages: a finding about two positions is reported at the later and names the earlier.
    pub(crate) fn line_text(self) -> String {
        format!("line {}", self.line)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The stable code, such as `E-DUPLICATE-UID`; `docs/policy-errors.md` lists all codes.
    pub code: &'static str,
    /// The file name that was passed to [`load`](crate::load).
    pub file: String,
    /// The line, from 1; 0 if the finding is about the whole file.
    pub line: u32,
    /// The column in characters, from 1; 0 if the finding is about the whole file.
    pub column: u32,
    /// The key path, such as `targets.web.allowed_roles[1]`; empty for the whole file.
    pub path: String,
    /// The fault and how to correct it.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, ": {kind} {}", self.code)?;
        if !self.path.is_empty() {
            write!(f, " at {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The findings of a refused policy in file order: at least one error, and the warnings found with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn new(findings: Vec<Diagnostic>) -> Self {
        Self(findings)
    }

    /// Returns the findings in file order.
    #[must_use]
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.0
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(report(&self.0).trim_end())
    }
}

impl std::error::Error for Diagnostics {}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Returns the findings as text: one line each, then a line that counts them. Empty if there are none.
#[must_use]
pub fn report(findings: &[Diagnostic]) -> String {
    use fmt::Write as _;
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{finding}");
    }
    if !findings.is_empty() {
        let errors = findings
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count();
        let _ = writeln!(
            text,
            "{}, {}",
            count(errors, "error"),
            count(findings.len() - errors, "warning")
        );
    }
    text
}

fn count(n: usize, noun: &str) -> String {
    match n {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{n} {noun}s"),
    }
}

/// Maximum number of findings kept for one file.
const MAX_FINDINGS: usize = 1000;

/// Collects findings while a policy is compiled.
pub(crate) struct Findings {
    file: String,
    list: Vec<Diagnostic>,
    dropped: bool,
}

impl Findings {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            list: Vec::new(),
            dropped: false,
        }
    }

    /// Adds a finding. The code's first letter gives its severity: `E` error, `W` warning.
    pub(crate) fn add(
        &mut self,
        code: &'static str,
        at: Place,
        path: impl fmt::Display,
        message: impl Into<String>,
    ) {
        debug_assert!(crate::codes::code(code).is_some(), "{code} is not listed");
        if self.list.len() >= MAX_FINDINGS {
            self.dropped = true;
            return;
        }
        self.list.push(Diagnostic {
            severity: if code.starts_with('W') {
                Severity::Warning
            } else {
                Severity::Error
            },
            code,
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            path: path.to_string(),
            message: message.into(),
        });
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    pub(crate) fn drop_warnings(&mut self) {
        self.list.retain(|d| d.severity == Severity::Error);
    }

    /// Returns the findings in file order and whether one of them is an error.
    pub(crate) fn finish(mut self) -> (Vec<Diagnostic>, bool) {
        if self.dropped {
            // A dropped finding may be an error, so the policy is refused.
            self.list.truncate(MAX_FINDINGS - 1);
            self.add(
                "E-TOO-MANY",
                Place::default(),
                "",
                format!("more than {MAX_FINDINGS} findings; correct these first"),
            );
        }
        self.list
            .sort_by(|a, b| (a.line, a.column, a.code).cmp(&(b.line, b.column, b.code)));
        let failed = self.has_errors();
        (self.list, failed)
    }
}
