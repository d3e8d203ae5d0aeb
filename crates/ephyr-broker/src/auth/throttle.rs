//! Rates of the policy's kind, by the broker's clock.

use std::time::Duration;

use ephyr_names::Timestamp;
use ephyr_policy::RateWindow;

/// Counts one if there is room.
///
/// # Errors
/// The seconds to wait, at least 1.
pub(crate) fn try_take(window: &mut RateWindow, now: Timestamp) -> Result<(), u32> {
    let millis = u64::try_from(now.unix_millis()).unwrap_or(0);
    window
        .try_take(Duration::from_millis(millis))
        .map_err(|wait| {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            u32::try_from(seconds).unwrap_or(u32::MAX)
        })
}
