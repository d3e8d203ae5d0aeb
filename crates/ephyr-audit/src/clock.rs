//! Time and randomness for the few records that the log writes about itself.

use std::time::{SystemTime, UNIX_EPOCH};

use ephyr_names::{RecordId, Timestamp};

/// The time now, by the system's clock.
pub(crate) fn now() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    };
    Timestamp::from_unix_millis(millis)
}

/// A fresh id.
///
/// # Panics
/// If the system has no randomness to give; then nothing else works either.
#[must_use]
pub fn new_record_id(time: Timestamp) -> RecordId {
    let mut random = [0u8; 10];
    #[expect(
        clippy::expect_used,
        reason = "a system without getrandom can run no part of Ephyr"
    )]
    getrandom::fill(&mut random).expect("the system gives random bytes");
    RecordId::from_parts(time, random)
}
