//! Counts tests from the output of their runners.

use std::ops::AddAssign;

/// The numbers of passed, failed and skipped tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl Tally {
    /// One check that passed or failed.
    pub(crate) fn one(passed: bool) -> Self {
        Self {
            passed: u32::from(passed),
            failed: u32::from(!passed),
            skipped: 0,
        }
    }

    /// One skipped check.
    pub(crate) fn skip() -> Self {
        Self {
            skipped: 1,
            ..Self::default()
        }
    }

    /// Counts a failure if the runner failed without a failed test: the build failed, or it crashed.
    pub(crate) fn with_exit(mut self, ok: bool) -> Self {
        if !ok && self.failed == 0 {
            self.failed = 1;
        }
        self
    }

    /// Counts tests that skipped themselves, which their runner reports as passed.
    pub(crate) fn with_skips(mut self, skips: u32) -> Self {
        let skips = skips.min(self.passed);
        self.passed -= skips;
        self.skipped += skips;
        self
    }

    /// Parses nextest's summary: `Summary [ 1.0s] 9 tests run: 8 passed (1 slow), 1 failed, 0 skipped`.
    /// Its skipped tests do not match the filter and are not counted.
    pub(crate) fn of_nextest(output: &str) -> Self {
        let Some(line) = output
            .lines()
            .rev()
            .find(|line| line.trim().starts_with("Summary ["))
        else {
            return Self::default();
        };
        let passed = number_before(line, " passed");
        let failed = [" failed", " timed out", " exec failed"];
        let failed = failed.iter().map(|word| number_before(line, word)).sum();
        Self {
            passed,
            failed,
            skipped: 0,
        }
    }

    /// Parses the last line of the Python scripts: `3 passed, 0 failed, 1 skipped`.
    pub(crate) fn of_driver(output: &str) -> Self {
        let counts = |line: &&str| line.contains(" passed, ") && line.ends_with(" skipped");
        let line = output.lines().rev().find(counts).unwrap_or_default();
        Self {
            passed: number_before(line, " passed"),
            failed: number_before(line, " failed"),
            skipped: number_before(line, " skipped"),
        }
    }

    /// Parses the lines of libtest: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn of_libtest(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output
            .lines()
            .filter(|line| line.trim().starts_with("test result:"))
        {
            tally += Self {
                passed: number_before(line, " passed"),
                failed: number_before(line, " failed"),
                skipped: number_before(line, " ignored"),
            };
        }
        tally
    }
}

fn number_before(line: &str, word: &str) -> u32 {
    let Some((before, _)) = line.split_once(word) else {
        return 0;
    };
    let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    before[before.len() - digits..].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_timeouts_count_as_failures() {
        let text = "  x\n     Summary [ 119.074s] 12 tests run: 8 passed (1 slow), 3 failed, 1 timed out, 7 skipped\nerror: test run failed\n";
        assert_eq!(
            Tally::of_nextest(text),
            Tally {
                passed: 8,
                failed: 4,
                skipped: 0
            }
        );
    }

    #[test]
    fn libtest_results_of_all_binaries_are_summed() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\nfoo\n\
                    test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured\n";
        assert_eq!(
            Tally::of_libtest(text),
            Tally {
                passed: 5,
                failed: 1,
                skipped: 1
            }
        );
    }

    #[test]
    fn runner_that_fails_before_testing_is_a_failure() {
        assert_eq!(
            Tally::of_nextest("error: could not compile")
                .with_exit(false)
                .failed,
            1
        );
        assert_eq!(
            Tally {
                failed: 2,
                ..Tally::default()
            }
            .with_exit(false)
            .failed,
            2
        );
    }

    #[test]
    fn last_line_of_the_driver_is_counted() {
        let tally = Tally::of_driver(
            "PASS a\n1 passed, 0 failed, 0 skipped\n2 passed, 1 failed, 3 skipped\n",
        );
        assert_eq!(tally.to_string(), "2 passed, 1 failed, 3 skipped");
        assert_eq!(Tally::of_driver("vm: no image").with_exit(false).failed, 1);
    }

    #[test]
    fn skips_are_subtracted_from_passed_tests() {
        let tally = Tally {
            passed: 5,
            failed: 0,
            skipped: 0,
        }
        .with_skips(2);
        assert_eq!(tally.to_string(), "3 passed, 0 failed, 2 skipped");
    }
}
