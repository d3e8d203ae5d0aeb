//! Locks and counters of state that concurrent requests share. The modeled modules import them only from here, so that
//! the feature `shuttle` can replace them with versions that run many thread interleavings.

#[cfg(feature = "shuttle")]
pub use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(feature = "shuttle")]
pub use shuttle::sync::{Mutex, MutexGuard, RwLock};
#[cfg(not(feature = "shuttle"))]
pub use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(not(feature = "shuttle"))]
pub use std::sync::{Mutex, MutexGuard, RwLock};

pub use std::sync::PoisonError;
