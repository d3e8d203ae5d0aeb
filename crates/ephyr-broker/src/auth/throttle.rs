//! A token bucket: how often something may happen.

use ephyr_names::Timestamp;

/// A bucket of `burst` tokens that fills by `per_second`.
#[derive(Debug, Clone)]
pub struct Bucket {
    burst: f64,
    per_second: f64,
    level: f64,
    filled: Timestamp,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(burst: u32, per_second: f64, now: Timestamp) -> Self {
        Self {
            burst: f64::from(burst),
            per_second,
            level: f64::from(burst),
            filled: now,
        }
    }

    /// Takes one token, or says after how many seconds there will be one.
    ///
    /// # Errors
    /// The seconds to wait, at least 1.
    pub fn take(&mut self, now: Timestamp) -> Result<(), u32> {
        // A clock set back gives nothing and takes nothing.
        let millis = now
            .unix_millis()
            .saturating_sub(self.filled.unix_millis())
            .clamp(0, 86_400_000);
        let millis = u32::try_from(millis).unwrap_or(0);
        self.level = (self.level + f64::from(millis) / 1000.0 * self.per_second).min(self.burst);
        self.filled = now;
        if self.level >= 1.0 {
            self.level -= 1.0;
            return Ok(());
        }
        let wait = ((1.0 - self.level) / self.per_second)
            .ceil()
            .clamp(1.0, 3600.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped above"
        )]
        Err(wait as u32)
    }

    /// When it was last asked.
    #[must_use]
    pub fn last_asked(&self) -> Timestamp {
        self.filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[test]
    fn a_burst_passes_then_the_rate_rules() {
        let mut bucket = Bucket::new(3, 0.5, at(0));
        for _ in 0..3 {
            assert_eq!(bucket.take(at(0)), Ok(()));
        }
        assert_eq!(bucket.take(at(0)), Err(2));
        assert_eq!(bucket.take(at(1_000)), Err(1));
        assert_eq!(bucket.take(at(2_000)), Ok(()));
        assert_eq!(bucket.last_asked(), at(2_000));
    }

    #[test]
    fn a_clock_set_back_neither_fills_nor_blocks_for_ever() {
        let mut bucket = Bucket::new(1, 1.0, at(1_000_000));
        assert_eq!(bucket.take(at(1_000_000)), Ok(()));
        assert_eq!(bucket.take(at(0)), Err(1));
        assert_eq!(bucket.take(at(1_000)), Ok(()));
    }
}
