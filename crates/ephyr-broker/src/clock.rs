//! The broker's only clock. Code that decides or stores takes the time as an argument.

#[cfg(test)]
use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use ephyr_names::Timestamp;

#[cfg(test)]
thread_local! {
    static SET: Cell<Option<Timestamp>> = const { Cell::new(None) };
}

/// Sets the time for the current test thread.
#[cfg(test)]
pub(crate) fn set(now: Timestamp) {
    SET.with(|set| set.set(Some(now)));
}

/// Returns the current time.
#[must_use]
pub fn now() -> Timestamp {
    #[cfg(test)]
    if let Some(set) = SET.with(Cell::get) {
        return set;
    }
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // A clock before 1970 is a broken clock: everything then counts as expired or not yet valid.
        Err(_) => 0,
    };
    Timestamp::from_unix_millis(millis)
}
