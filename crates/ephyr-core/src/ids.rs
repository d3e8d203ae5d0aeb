//! Ids and random bytes from the kernel.

use std::cell::Cell;

use ephyr_names::{EpochId, RecordId, TaskId, Timestamp};

/// Random bytes of a ULID.
const ID_BYTES: usize = 10;
/// Number of ids whose random bytes are read from the kernel at once.
const BATCH: usize = 25;

/// Returns random bytes from the kernel.
///
/// # Panics
/// If the kernel returns none: a broker without randomness must not continue.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    #[expect(
        clippy::expect_used,
        reason = "a key must consist of random bytes only"
    )]
    getrandom::fill(&mut bytes).expect("the kernel returns random bytes");
    bytes
}

/// Returns a new task id.
#[must_use]
pub fn task_id(now: Timestamp) -> TaskId {
    TaskId::from_parts(now, id_bytes())
}

/// Returns a new record id.
#[must_use]
pub fn record_id(now: Timestamp) -> RecordId {
    RecordId::from_parts(now, id_bytes())
}

/// Returns a new epoch id.
#[must_use]
pub fn epoch_id(now: Timestamp) -> EpochId {
    EpochId::from_parts(now, random())
}

thread_local! {
    /// Random bytes for ids, and the number of used ones. Ids must be unique but are not secret.
    static ID_POOL: Cell<([u8; ID_BYTES * BATCH], usize)> =
        const { Cell::new(([0; ID_BYTES * BATCH], ID_BYTES * BATCH)) };
}

fn id_bytes() -> [u8; ID_BYTES] {
    ID_POOL.with(|pool| {
        let (mut bytes, mut used) = pool.get();
        if used + ID_BYTES > bytes.len() {
            (bytes, used) = (random(), 0);
        }
        pool.set((bytes, used + ID_BYTES));
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&bytes[used..used + ID_BYTES]);
        id
    })
}
