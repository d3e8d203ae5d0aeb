//! Cancels a running command, for example when its task is revoked.

use tokio::sync::watch;

/// Cancels the commands that hold its [`Cancel`]. Dropping it cancels nothing.
#[derive(Debug, Clone)]
pub struct Canceller(watch::Sender<bool>);

/// Notifies a running command that it was cancelled.
#[derive(Debug, Clone)]
pub struct Cancel(Option<watch::Receiver<bool>>);

/// Returns a connected pair. Both can be cloned, so one canceller can cancel many commands.
#[must_use]
pub fn cancellation() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(false);
    (Canceller(sender), Cancel(Some(receiver)))
}

impl Canceller {
    /// Cancels running commands at once and later ones before they start. Cannot be undone.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancel {
    /// Returns a `Cancel` that never fires.
    #[must_use]
    pub fn never() -> Self {
        Self(None)
    }

    /// Completes when cancelled; otherwise never.
    pub async fn cancelled(&mut self) {
        if let Some(receiver) = &mut self.0
            && receiver.wait_for(|cancelled| *cancelled).await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn cancellation_before_the_wait_is_seen() {
        let (canceller, mut cancel) = cancellation();
        canceller.cancel();
        drop(canceller);
        cancel.cancelled().await;
    }

    #[tokio::test]
    async fn dropped_canceller_cancels_nothing() {
        let (canceller, mut cancel) = cancellation();
        drop(canceller);
        let ended = tokio::time::timeout(Duration::from_millis(50), cancel.cancelled()).await;
        assert!(ended.is_err());
    }
}
