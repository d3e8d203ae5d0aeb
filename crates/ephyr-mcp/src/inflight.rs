//! The running requests of the versions that cancel with `notifications/cancelled`. They are keyed by
//! caller, session and id, so that no caller can cancel another's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::session::McpSession;

/// Identifies a running request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RequestKey {
    pub(crate) caller: String,
    pub(crate) session: Option<McpSession>,
    /// The id as JSON.
    pub(crate) id: String,
}

/// All running requests of a server. Clients may reuse an id, so a key may have several requests;
/// cancelling it cancels all of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Inflight(Arc<Mutex<InflightTable>>);

#[derive(Debug, Default)]
struct InflightTable {
    running: HashMap<RequestKey, Vec<InflightRequest>>,
    next: u64,
}

#[derive(Debug)]
struct InflightRequest {
    number: u64,
    work: watch::Sender<bool>,
    reply: oneshot::Sender<()>,
}

impl Inflight {
    /// Registers a request until the guard is dropped.
    pub(crate) fn enter(
        &self,
        key: RequestKey,
        work: watch::Sender<bool>,
        reply: oneshot::Sender<()>,
    ) -> InflightGuard {
        let mut table = self.lock();
        let number = table.next;
        table.next += 1;
        let entry = InflightRequest {
            number,
            work,
            reply,
        };
        table.running.entry(key.clone()).or_default().push(entry);
        drop(table);
        InflightGuard {
            table: self.clone(),
            key,
            number,
        }
    }

    /// Signals the work and the response of a request that it is cancelled. Returns false if there is none.
    pub(crate) fn cancel(&self, key: &RequestKey) -> bool {
        let Some(entries) = self.lock().running.remove(key) else {
            return false;
        };
        for entry in entries {
            entry.work.send_replace(true);
            // The receiver is gone if the client disconnected.
            entry.reply.send(()).ok();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, InflightTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the request from the table when dropped.
#[derive(Debug)]
pub(crate) struct InflightGuard {
    table: Inflight,
    key: RequestKey,
    number: u64,
}

impl Drop for InflightGuard {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        let Some(entries) = table.running.get_mut(&self.key) else {
            return;
        };
        entries.retain(|entry| entry.number != self.number);
        if entries.is_empty() {
            table.running.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(caller: &str, id: &str) -> RequestKey {
        RequestKey {
            caller: caller.to_owned(),
            session: None,
            id: id.to_owned(),
        }
    }

    #[test]
    fn cancel_matches_caller_and_id() {
        let table = Inflight::default();
        let (work, watched) = watch::channel(false);
        let (reply, mut replied) = oneshot::channel();
        let _entered = table.enter(key("alpha", "1"), work, reply);
        assert!(!table.cancel(&key("beta", "1")));
        assert!(!table.cancel(&key("alpha", "2")));
        assert!(!*watched.borrow());
        assert!(table.cancel(&key("alpha", "1")));
        assert!(*watched.borrow());
        assert_eq!(replied.try_recv(), Ok(()));
    }

    #[test]
    fn finished_request_is_removed_without_its_namesake() {
        let table = Inflight::default();
        let enter = || {
            let (work, watched) = watch::channel(false);
            let (reply, _) = oneshot::channel();
            (table.enter(key("alpha", "1"), work, reply), watched)
        };
        let (first, _) = enter();
        let (second, watched) = enter();
        drop(first);
        assert!(table.cancel(&key("alpha", "1")));
        assert!(*watched.borrow());
        drop(second);
        assert!(table.lock().running.is_empty());
    }
}
