//! Time and record ids for the records that the log writes about itself.

use std::time::{SystemTime, UNIX_EPOCH};

use ephyr_names::{RecordId, Timestamp};

/// Returns the system clock's time.
pub(crate) fn now() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    };
    Timestamp::from_unix_millis(millis)
}

/// Returns a new record id: the time and random bits.
///
/// # Panics
/// Panics if getrandom fails.
#[must_use]
pub fn new_record_id(time: Timestamp) -> RecordId {
    let mut random = [0u8; 10];
    #[expect(
        clippy::expect_used,
        reason = "no part of Ephyr works without getrandom"
    )]
    getrandom::fill(&mut random).expect("getrandom returns random bytes");
    RecordId::from_parts(time, random)
}
