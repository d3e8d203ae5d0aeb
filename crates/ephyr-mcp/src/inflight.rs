//! The running requests of the versions in which `notifications/cancelled` ends one: found by caller,
//! session and id, so that no caller can end another's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::session::Session;

/// Which running request is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) caller: String,
    pub(crate) session: Option<Session>,
    /// The id as JSON.
    pub(crate) id: String,
}

/// All running requests of a server. A key may stand for several: nothing stops a client from using
/// an id twice, and then cancelling it means both.
#[derive(Debug, Default, Clone)]
pub(crate) struct Inflight(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    running: HashMap<Key, Vec<Entry>>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    work: watch::Sender<bool>,
    reply: oneshot::Sender<()>,
}

impl Inflight {
    /// Enters a request. It stays until the guard is dropped.
    pub(crate) fn enter(
        &self,
        key: Key,
        work: watch::Sender<bool>,
        reply: oneshot::Sender<()>,
    ) -> Entered {
        let mut table = self.lock();
        let number = table.next;
        table.next += 1;
        let entry = Entry {
            number,
            work,
            reply,
        };
        table.running.entry(key.clone()).or_default().push(entry);
        drop(table);
        Entered {
            table: self.clone(),
            key,
            number,
        }
    }

    /// Tells work and reply of a request that it is cancelled. False: there is none.
    pub(crate) fn cancel(&self, key: &Key) -> bool {
        let Some(entries) = self.lock().running.remove(key) else {
            return false;
        };
        for entry in entries {
            entry.work.send_replace(true);
            // The reply may have gone already, with its connection.
            entry.reply.send(()).ok();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's place in the table.
#[derive(Debug)]
pub(crate) struct Entered {
    table: Inflight,
    key: Key,
    number: u64,
}

impl Drop for Entered {
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

    fn key(caller: &str, id: &str) -> Key {
        Key {
            caller: caller.to_owned(),
            session: None,
            id: id.to_owned(),
        }
    }

    #[test]
    fn only_the_named_request_of_the_same_caller_is_cancelled() {
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
    fn a_finished_request_leaves_nothing_behind_and_spares_its_namesake() {
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
