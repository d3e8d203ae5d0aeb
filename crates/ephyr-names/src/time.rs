//! Timestamps and durations. Nothing here reads a clock.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use ::time::format_description::well_known::Rfc3339;
use ::time::{OffsetDateTime, UtcOffset};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time in milliseconds since 1970-01-01T00:00:00Z; as text, RFC 3339 in UTC, with
/// milliseconds only if they are not zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text is not an RFC 3339 time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time in UTC such as 2026-11-24T06:00:00Z")]
pub struct TimeError;

impl Timestamp {
    /// Returns the milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Returns the time `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the time `seconds` seconds after the Unix epoch, saturating.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Returns the whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the time `ttl` later, saturating.
    #[must_use]
    pub fn after(self, ttl: Ttl) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Returns the time elapsed since `earlier` in whole seconds, rounded down; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Ttl {
        Ttl::from_secs(u64::try_from(self.0.saturating_sub(earlier.0) / 1000).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(t) = OffsetDateTime::from_unix_timestamp(self.unix_seconds()) else {
            return write!(f, "@{}ms", self.0);
        };
        let (date, time) = (t.date(), t.time());
        // Every record and token carries several timestamps, and `write!` with seven numbers is ten times slower.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let year = u32::try_from(date.year()).unwrap_or(0);
        put(&mut text[..4], year);
        put(&mut text[5..7], u8::from(date.month()).into());
        put(&mut text[8..10], date.day().into());
        put(&mut text[11..13], time.hour().into());
        put(&mut text[14..16], time.minute().into());
        put(&mut text[17..19], time.second().into());
        let millis = u32::try_from(self.0.rem_euclid(1000)).unwrap_or(0);
        put(&mut text[20..23], millis);
        let text = std::str::from_utf8(&text).map_err(|_| fmt::Error)?;
        match (date.year(), millis) {
            (0..=9999, 0) => f.write_str(&text[..19]).and_then(|()| f.write_char('Z')),
            (0..=9999, _) => f.write_str(text),
            // A year before 0 is written as a sign and its digits.
            (year, _) => write!(f, "{year:05}{}", &text[4..]),
        }
    }
}

/// Fills `digits` with the last decimal digits of `number`.
fn put(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        if !text.ends_with('Z') {
            return Err(TimeError);
        }
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimeError)?;
        if time.offset() != UtcOffset::UTC {
            return Err(TimeError);
        }
        i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000))
            .map(Self)
            .map_err(|_| TimeError)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A duration in whole seconds; as text like Go's durations: `90s`, `5m`, `1h30m`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u64);

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TtlError {
    /// Not a sequence of numbers with units.
    #[error("not a duration: write hours, minutes and seconds as in 1h30m, 5m or 90s")]
    Malformed,
    /// Longer than a year.
    #[error("longer than a year")]
    TooLong,
}

const YEAR: u64 = 366 * 24 * 3600;

impl Ttl {
    /// Returns the duration of `seconds` seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Returns the number of seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// Returns the number of milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0.saturating_mul(1000)
    }

    /// Returns whether the duration is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Ttl> for std::time::Duration {
    fn from(ttl: Ttl) -> Self {
        Self::from_secs(ttl.0)
    }
}

impl FromStr for Ttl {
    type Err = TtlError;

    fn from_str(text: &str) -> Result<Self, TtlError> {
        let mut rest = text;
        let mut total = 0u64;
        let mut previous_unit = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 9 {
                return Err(if digits == 0 {
                    TtlError::Malformed
                } else {
                    TtlError::TooLong
                });
            }
            let value: u64 = rest[..digits].parse().map_err(|_| TtlError::Malformed)?;
            let unit = match rest.as_bytes().get(digits) {
                Some(b'h') => 3600,
                Some(b'm') => 60,
                Some(b's') => 1,
                _ => return Err(TtlError::Malformed),
            };
            // Each unit at most once, in descending order.
            if unit >= previous_unit {
                return Err(TtlError::Malformed);
            }
            previous_unit = unit;
            total = total.saturating_add(value.saturating_mul(unit));
            rest = &rest[digits + 1..];
        }
        if text.is_empty() {
            return Err(TtlError::Malformed);
        }
        if total > YEAR {
            Err(TtlError::TooLong)
        } else {
            Ok(Self(total))
        }
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (h, m, s) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        if h > 0 {
            write!(f, "{h}h")?;
        }
        if m > 0 {
            write!(f, "{m}m")?;
        }
        if s > 0 || self.0 == 0 {
            write!(f, "{s}s")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ttl({self})")
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for text in ["0s", "30m", "1h30m", "90s", "1h1s"] {
            let ttl: Ttl = text.parse().unwrap();
            assert_eq!(ttl.to_string().parse::<Ttl>().unwrap(), ttl);
        }
        assert_eq!("90s".parse::<Ttl>().unwrap().to_string(), "1m30s");
    }

    #[test]
    fn malformed_durations_are_refused() {
        for bad in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "5m1h",
            "5m5m",
            "1.5h",
            "5ms",
            "9999999999s",
            "99999h",
        ] {
            assert!(bad.parse::<Ttl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn times_match_the_time_crates_rfc3339_output() {
        // The step covers every value of every field, from the year 1 to 9999.
        let steps = (-62_135_596_800_000_i64..253_402_300_799_999).step_by(7_654_321_000_987);
        for millis in steps.chain([0, 1, 999, 1000, -1, 951_782_400_000, 253_402_300_799_999]) {
            let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
            let theirs = time.unwrap().format(&Rfc3339).unwrap();
            let ours = Timestamp::from_unix_millis(millis).to_string();
            assert_eq!(ours.parse::<Timestamp>().unwrap().unix_millis(), millis);
            let (ours, theirs) = (ours.trim_end_matches('Z'), theirs.trim_end_matches('Z'));
            let whole = |text: &str| text.split('.').next().unwrap().to_owned();
            assert_eq!(whole(ours), whole(theirs));
            // The other formatter drops trailing zeros of the fraction.
            let shorter = if ours.contains('.') {
                ours.trim_end_matches('0')
            } else {
                ours
            };
            assert_eq!(shorter, theirs);
        }
        assert!(
            Timestamp::from_unix_millis(-70_000_000_000_000)
                .to_string()
                .starts_with('-')
        );
        assert!(
            Timestamp::from_unix_millis(i64::MAX)
                .to_string()
                .starts_with('@')
        );
    }

    #[test]
    fn times_round_trip_and_must_be_utc() {
        for text in [
            "2026-11-24T06:23:20Z",
            "2026-11-24T06:23:20.007Z",
            "1969-12-31T23:59:59.500Z",
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        for bad in [
            "2026-11-24T06:23:20+01:00",
            "2026-11-24 06:23:20",
            "now",
            "",
            "2026-13-01T00:00:00Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn time_arithmetic_saturates() {
        let t = Timestamp::from_unix_seconds(100);
        assert_eq!(t.after(Ttl::from_secs(5)).since(t), Ttl::from_secs(5));
        assert_eq!(t.since(t.after(Ttl::from_secs(5))), Ttl::from_secs(0));
        assert_eq!(
            Timestamp::from_unix_millis(i64::MAX)
                .after(Ttl::from_secs(5))
                .unix_millis(),
            i64::MAX
        );
    }
}
