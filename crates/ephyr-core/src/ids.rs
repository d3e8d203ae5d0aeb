//! Fresh ids and random bytes from the kernel. Everything else in this crate takes them, and the time, as arguments.

use std::cell::Cell;

use ephyr_names::{EpochId, RecordId, TaskId, Timestamp};

/// Random bytes of a ULID.
const ID_BYTES: usize = 10;
/// Number of ids whose random bytes are read from the kernel at once.
const BATCH: usize = 25;

/// Returns fresh random bytes from the kernel.
///
/// # Panics
/// If the kernel gives none: a broker without randomness must not go on.
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
    /// Random bytes for ids, and how many are used up. Ids must be unique; they are no secrets.
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
