//! Rates such as `60/1m`, and the sliding window by which broker and signer enforce them.

use std::time::Duration;

use ephyr_names::Ttl;

/// A rate. `60/1m` means at most 60 in any interval of one minute, wherever it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The maximum number in one window.
    pub count: u32,
    /// The length of the window.
    pub window: Ttl,
}

/// Number of slices of a window. One more slice is counted, so that an interval that begins inside a slice does not
/// exceed the rate either.
const SLICES: usize = 32;

/// A sliding-window counter in constant memory. A count leaves the window after at most 33/32 of the window's length.
#[derive(Debug, Clone)]
pub struct RateWindow {
    rate: Rate,
    counts: [u32; SLICES + 1],
    /// The number of the newest slice, counted from the clock's zero.
    newest: u64,
}

impl RateWindow {
    /// Returns an empty window.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            counts: [0; SLICES + 1],
            newest: 0,
        }
    }

    /// Returns the rate that is enforced.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Counts one if the rate allows it. `now` is the time since a fixed point.
    ///
    /// # Errors
    ///
    /// Returns the time to wait until one more fits; nothing is counted.
    pub fn try_take(&mut self, now: Duration) -> Result<(), Duration> {
        if self.has_room(now) {
            self.count(now);
            return Ok(());
        }
        Err(self.wait(now))
    }

    /// Returns whether one more fits now.
    pub fn has_room(&mut self, now: Duration) -> bool {
        self.advance(now);
        self.total() < u64::from(self.rate.count)
    }

    /// Counts one even if it exceeds the rate.
    pub fn count(&mut self, now: Duration) {
        self.advance(now);
        let slot = &mut self.counts[slot(self.newest)];
        *slot = slot.saturating_add(1);
    }

    fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Returns the time until enough of the oldest slices have left the window.
    fn wait(&self, now: Duration) -> Duration {
        let mut left = self.total();
        let oldest = self.newest.saturating_sub(SLICES as u64);
        for slice in oldest..=self.newest {
            left -= u64::from(self.counts[slot(slice)]);
            if left < u64::from(self.rate.count) {
                let leaves = (slice + SLICES as u64 + 1).saturating_mul(self.slice_millis());
                return Duration::from_millis(leaves).saturating_sub(now);
            }
        }
        // A count of zero never has room.
        Duration::from_secs(self.rate.window.as_secs())
    }

    fn slice_millis(&self) -> u64 {
        let millis = self.rate.window.as_secs().saturating_mul(1000);
        millis.div_ceil(SLICES as u64).max(1)
    }

    /// Clears the slices that `now` has passed.
    fn advance(&mut self, now: Duration) {
        let current = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / self.slice_millis();
        if current + (SLICES as u64) < self.newest {
            // The clock was set back by more than a window. The counts are kept, but for no longer than one window.
            let total = u32::try_from(self.total()).unwrap_or(u32::MAX);
            self.counts = [0; SLICES + 1];
            self.counts[slot(current)] = total;
            self.newest = current;
            return;
        }
        // Concurrent callers may arrive in an order other than that of their timestamps.
        let passed = current.saturating_sub(self.newest).min(SLICES as u64 + 1);
        for step in 1..=passed {
            self.counts[slot(current - (passed - step))] = 0;
        }
        self.newest = self.newest.max(current);
    }
}

fn slot(slice: u64) -> usize {
    usize::try_from(slice % (SLICES as u64 + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate {
            count,
            window: Ttl::from_secs(seconds),
        }
    }

    #[test]
    fn clock_set_back_frees_nothing_and_blocks_one_window_at_most() {
        let mut window = RateWindow::new(rate(2, 10));
        let at = Duration::from_secs;
        assert_eq!(window.try_take(at(1_000_000)), Ok(()));
        assert_eq!(window.try_take(at(1_000_000)), Ok(()));
        assert!(window.try_take(at(0)).is_err());
        assert!(window.try_take(at(9)).is_err());
        assert_eq!(window.try_take(at(11)), Ok(()));
        // Set back by less than a window, the window does not move.
        let mut window = RateWindow::new(rate(1, 10));
        assert_eq!(window.try_take(at(1_000)), Ok(()));
        assert!(window.try_take(at(995)).is_err());
        assert_eq!(window.try_take(at(1_011)), Ok(()));
    }

    proptest! {
        #[test]
        fn no_interval_of_window_length_exceeds_the_count(
            gaps in proptest::collection::vec(0..3000u64, 1..400),
            count in 1..20u32,
        ) {
            let mut window = RateWindow::new(rate(count, 10));
            let mut now = 1_000_000;
            let mut admitted: Vec<u64> = Vec::new();
            for gap in gaps {
                now += gap;
                let at = Duration::from_millis(now);
                if window.has_room(at) {
                    window.count(at);
                    admitted.push(now);
                }
                let recent = admitted.iter().filter(|then| now - **then < 10_000).count();
                prop_assert!(recent <= count as usize);
            }
        }

        #[test]
        fn window_is_free_again_after_its_length_and_a_slice(count in 1..50u32, begin in 0..1_000_000u64) {
            let mut window = RateWindow::new(rate(count, 10));
            let begin = Duration::from_millis(begin);
            for _ in 0..count {
                prop_assert!(window.has_room(begin));
                window.count(begin);
            }
            prop_assert!(!window.has_room(begin));
            prop_assert!(!window.has_room(begin + Duration::from_secs(9)));
            prop_assert!(window.has_room(begin + Duration::from_millis(10_700)));
        }

        #[test]
        fn refusal_returns_the_exact_wait(
            gaps in proptest::collection::vec(0..3000u64, 1..100),
            count in 1..20u32,
        ) {
            let mut window = RateWindow::new(rate(count, 10));
            let mut now = Duration::from_millis(1_000_000);
            for gap in gaps {
                now += Duration::from_millis(gap);
                if let Err(wait) = window.try_take(now) {
                    prop_assert!(!wait.is_zero());
                    let just_before = wait - Duration::from_millis(1);
                    prop_assert!(!window.clone().has_room(now + just_before));
                    prop_assert!(window.clone().has_room(now + wait));
                }
            }
        }
    }
}
