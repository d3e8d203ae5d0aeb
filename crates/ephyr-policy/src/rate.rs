//! Rates such as `60/1m`, and the sliding window that enforces them in the broker and the signer alike.

use std::time::Duration;

use ephyr_names::Ttl;

/// A rate, written `60/1m`: at most 60 in any stretch of one minute, wherever it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// The window's length.
    pub window: Ttl,
}

/// A window is cut into this many slices. One more slice is counted, so that a stretch that begins inside a slice
/// does not have more than the rate's count either.
const SLICES: usize = 32;

/// Counts in a sliding window, in constant memory. What was counted is free again after the window's length and 1/32 of
/// it at most.
#[derive(Debug, Clone)]
pub struct RateWindow {
    rate: Rate,
    counts: [u32; SLICES + 1],
    /// The number of the newest slice since the clock's beginning.
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

    /// Counts one if there is room. `now` is the time since a fixed point.
    ///
    /// # Errors
    ///
    /// How long to wait until there is room; nothing is counted then.
    pub fn try_take(&mut self, now: Duration) -> Result<(), Duration> {
        if self.has_room(now) {
            self.count(now);
            return Ok(());
        }
        Err(self.wait(now))
    }

    /// Whether one more fits now.
    pub fn has_room(&mut self, now: Duration) -> bool {
        self.advance(now);
        self.total() < u64::from(self.rate.count)
    }

    /// Counts one, whether or not it fits.
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

    /// Empties the slices that time has passed over.
    fn advance(&mut self, now: Duration) {
        let current = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / self.slice_millis();
        if current + (SLICES as u64) < self.newest {
            // The clock was set back by more than a window: what was counted stays, and no longer than a window.
            let total = u32::try_from(self.total()).unwrap_or(u32::MAX);
            self.counts = [0; SLICES + 1];
            self.counts[slot(current)] = total;
            self.newest = current;
            return;
        }
        // Callers on several threads may come in another order than their times.
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
    fn clock_set_back_neither_frees_nor_blocks_for_longer_than_a_window() {
        let mut window = RateWindow::new(rate(2, 10));
        let at = Duration::from_secs;
        assert_eq!(window.try_take(at(1_000_000)), Ok(()));
        assert_eq!(window.try_take(at(1_000_000)), Ok(()));
        assert!(window.try_take(at(0)).is_err());
        assert!(window.try_take(at(9)).is_err());
        assert_eq!(window.try_take(at(11)), Ok(()));
        // By less than a window, it stands still.
        let mut window = RateWindow::new(rate(1, 10));
        assert_eq!(window.try_take(at(1_000)), Ok(()));
        assert!(window.try_take(at(995)).is_err());
        assert_eq!(window.try_take(at(1_011)), Ok(()));
    }

    proptest! {
        #[test]
        fn no_stretch_of_a_windows_length_has_more_than_the_count(
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
        fn room_comes_back_after_a_window_and_a_slice(count in 1..50u32, begin in 0..1_000_000u64) {
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
        fn refusal_says_exactly_when_there_is_room(
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
