//! Parsing of times in caveats.

use ephyr_names::Timestamp;

/// Parses `YYYY-MM-DDTHH:MM:SS[.mmm]Z`, the canonical form of [`Timestamp`]. It runs for every segment of
/// every token, where a general RFC 3339 parser would be too slow.
pub(crate) fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let millis = match text.len() {
        20 => 0,
        24 if text[19] == b'.' => digits(&text[20..23]).filter(|millis| *millis != 0)?,
        _ => return None,
    };
    let punctuated = text[4] == b'-'
        && text[7] == b'-'
        && text[10] == b'T'
        && text[13] == b':'
        && text[16] == b':'
        && text[text.len() - 1] == b'Z';
    let (year, month, day) = (
        digits(&text[..4])?,
        digits(&text[5..7])?,
        digits(&text[8..10])?,
    );
    let (h, m, s) = (
        digits(&text[11..13])?,
        digits(&text[14..16])?,
        digits(&text[17..19])?,
    );
    let in_range = year > 0
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && h < 24
        && m < 60
        && s < 60;
    if !punctuated || !in_range {
        return None;
    }
    let seconds = ((days_since_epoch(year, month, day) * 24 + h) * 60 + m) * 60 + s;
    Some(Timestamp::from_unix_millis(seconds * 1000 + millis))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, b| {
        b.is_ascii_digit().then(|| value * 10 + i64::from(b - b'0'))
    })
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Returns the days since 1970-01-01 in the proleptic Gregorian calendar, for the years 1 to 9999. Years
/// are counted from March, so the leap day is the last day of its year.
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_1970: i64 = 719_468;
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // From March on, month lengths repeat: 31, 30, 31, 30, 31 days.
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + leap_days + day_of_year - BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn invalid_dates_and_times_are_refused() {
        for (text, exists) in [
            ("2024-02-29T00:00:00Z", true),
            ("2023-02-29T00:00:00Z", false),
            ("2000-02-29T00:00:00Z", true),
            ("1900-02-29T00:00:00Z", false),
            ("2026-04-31T00:00:00Z", false),
            ("2026-13-01T00:00:00Z", false),
            ("2026-00-01T00:00:00Z", false),
            ("2026-01-00T00:00:00Z", false),
            ("2026-01-01T24:00:00Z", false),
            ("2026-01-01T23:59:60Z", false),
            ("0000-12-31T00:00:00Z", false),
            ("0001-01-01T00:00:00Z", true),
            ("9999-12-31T23:59:59.999Z", true),
            ("2026-01-01T00:00:00.000Z", false),
            ("2026-01-01T00:00:00.50Z", false),
            ("2026-01-01t00:00:00Z", false),
            ("2026-01-01T00:00:00z", false),
            ("+026-01-01T00:00:00Z", false),
        ] {
            let read = parse_time(text.as_bytes());
            assert_eq!(read.is_some(), exists, "{text}");
            if let Some(time) = read {
                assert_eq!(time.to_string(), text);
                assert_eq!(text.parse(), Ok(time), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn times_round_trip(ms in -62_135_596_800_000..253_402_300_800_000i64) {
            let time = Timestamp::from_unix_millis(ms);
            prop_assert_eq!(parse_time(time.to_string().as_bytes()), Some(time));
        }

        #[test]
        fn accepted_times_are_canonical(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{3})?Z") {
            if let Some(time) = parse_time(text.as_bytes()) {
                prop_assert_eq!(time.to_string(), text);
            }
        }

        #[test]
        fn time_parser_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let _ = parse_time(&bytes);
        }
    }
}
