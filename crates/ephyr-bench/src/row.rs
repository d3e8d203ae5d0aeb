//! One row: Ephyr's figure, the reference, their ratio, and the bar for the ratio.

use std::fmt;

use serde::Serialize;

/// The result of one benchmark.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// The name, with the unit.
    pub(crate) name: String,
    /// Ephyr's figure.
    pub(crate) ours: f64,
    /// The reference, in the same unit.
    pub(crate) reference: f64,
    /// `ours / reference`.
    pub(crate) ratio: f64,
    /// The limit of the ratio, such as `<= 2.5`.
    pub(crate) bar: String,
    /// Whether the ratio meets the bar.
    pub(crate) ok: bool,
}

impl Row {
    /// A row whose ratio must be at most `bar`.
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

    /// A row whose ratio must be at least `bar`.
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

/// Returns the (upper) median; NaN without figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
