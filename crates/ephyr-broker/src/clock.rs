//! The broker's only view of clock and randomness, so that everything below takes both as arguments.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use ephyr_names::{EpochId, RecordId, TaskId, Timestamp};

#[cfg(test)]
thread_local! {
    static SET: Cell<Option<Timestamp>> = const { Cell::new(None) };
}

/// From here on this test's thread has this time.
#[cfg(test)]
pub(crate) fn set(now: Timestamp) {
    SET.with(|set| set.set(Some(now)));
}

/// The present time.
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

/// Fresh random bytes from the kernel.
///
/// # Panics
/// When the kernel gives none: a broker without randomness must not go on.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    #[expect(
        clippy::expect_used,
        reason = "no key may ever be made of anything but randomness"
    )]
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

/// A new task id.
#[must_use]
pub fn task_id(now: Timestamp) -> TaskId {
    TaskId::from_parts(now, id_bits())
}

/// A new record id.
#[must_use]
pub fn record_id(now: Timestamp) -> RecordId {
    RecordId::from_parts(now, id_bits())
}

thread_local! {
    /// Random bytes for ids, taken from the kernel 25 ids at a time, and how many are used up. Ids must be
    /// unique; they are no secrets.
    static ID_BITS: Cell<([u8; ID_BYTES * 25], usize)> = const { Cell::new(([0; ID_BYTES * 25], ID_BYTES * 25)) };
}

/// Random bytes of a ULID.
const ID_BYTES: usize = 10;

fn id_bits() -> [u8; ID_BYTES] {
    ID_BITS.with(|kept| {
        let (mut bytes, mut at) = kept.get();
        if at + ID_BYTES > bytes.len() {
            (bytes, at) = (random(), 0);
        }
        kept.set((bytes, at + ID_BYTES));
        let mut bits = [0; ID_BYTES];
        bits.copy_from_slice(&bytes[at..at + ID_BYTES]);
        bits
    })
}

/// A new epoch id.
#[must_use]
pub fn epoch_id(now: Timestamp) -> EpochId {
    EpochId::from_parts(now, random())
}
