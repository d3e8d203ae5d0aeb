//! The modules of the broker that several requests touch at once, built again with locks and counters that
//! try one order of events after another (shuttle). The files are the broker's own: what is wrong in them is
//! found here, and nothing here can drift from them. `tests/models` says what must hold in every order.

// The modules' own tests need the rest of the broker, and run there.
#![cfg(not(test))]

#[path = "../../ephyr-broker/src/clock.rs"]
pub mod clock;
#[path = "../../ephyr-broker/src/epoch.rs"]
pub mod epoch;
#[path = "../../ephyr-broker/src/gate.rs"]
pub mod gate;
#[path = "../../ephyr-broker/src/live.rs"]
pub mod live;
#[path = "../../ephyr-broker/src/state/mod.rs"]
pub mod state;

/// In the place of the broker's `sync.rs`.
pub mod sync {
    pub use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    pub use shuttle::sync::{Mutex, MutexGuard, RwLock};
    pub use std::sync::PoisonError;
}
