//! Ending a running command from elsewhere, as when its task is revoked.

use tokio::sync::watch;

/// Ends what holds the [`Cancel`] made with it. Dropping it ends nothing.
#[derive(Debug, Clone)]
pub struct Canceller(watch::Sender<bool>);

/// Tells a running command that it is to end.
#[derive(Debug, Clone)]
pub struct Cancel(Option<watch::Receiver<bool>>);

/// A pair of the two ends; both can be cloned, so one canceller can end many commands.
#[must_use]
pub fn cancellation() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(false);
    (Canceller(sender), Cancel(Some(receiver)))
}

impl Canceller {
    /// Ends it, at once or as soon as it starts. Cannot be taken back.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancel {
    /// One that never comes.
    #[must_use]
    pub fn never() -> Self {
        Self(None)
    }

    /// Returns when it is cancelled, and otherwise never.
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
    async fn a_cancellation_arrives_even_when_it_came_first() {
        let (canceller, mut cancel) = cancellation();
        canceller.cancel();
        drop(canceller);
        cancel.cancelled().await;
    }

    #[tokio::test]
    async fn a_dropped_canceller_ends_nothing() {
        let (canceller, mut cancel) = cancellation();
        drop(canceller);
        let ended = tokio::time::timeout(Duration::from_millis(50), cancel.cancelled()).await;
        assert!(ended.is_err());
    }
}
