//! The locks and counters of what several requests touch at once. They are named here, and nowhere else
//! in those modules, so that the models of `ephyr-models` can run the same modules with locks that try
//! one order of events after another.

pub use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
