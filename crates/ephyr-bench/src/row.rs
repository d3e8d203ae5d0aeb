//! One figure: ours, the reference, their ratio, and the bar that the ratio is held to.

use std::fmt;

use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// What was measured, with its unit.
    pub(crate) name: String,
    /// Our figure.
    pub(crate) ours: f64,
    /// The reference's, in the same unit.
    pub(crate) reference: f64,
    /// Ours by the reference's.
    pub(crate) ratio: f64,
    /// What the ratio is held to, such as `<= 2.5`.
    pub(crate) bar: String,
    /// Whether it holds.
    pub(crate) ok: bool,
}

impl Row {
    /// A figure of which less is better.
    pub(crate) fn at_most(name: &str, ours: f64, reference: f64, bar: f64) -> Self {
        let ratio = ours / reference;
        Self {
            name: name.to_owned(),
            ours,
            reference,
            ratio,
            bar: format!("<= {bar}"),
            ok: ratio <= bar,
        }
    }

    /// A figure of which more is better.
    pub(crate) fn at_least(name: &str, ours: f64, reference: f64, bar: f64) -> Self {
        let ratio = ours / reference;
        Self {
            name: name.to_owned(),
            ours,
            reference,
            ratio,
            bar: format!(">= {bar}"),
            ok: ratio >= bar,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.ok { "ok" } else { "MISSED" };
        write!(
            f,
            "{:<44} {:>12.3} against {:>12.3}: {:>6.3} (bar {}) {verdict}",
            self.name, self.ours, self.reference, self.ratio, self.bar
        )
    }
}

/// The middle one.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
