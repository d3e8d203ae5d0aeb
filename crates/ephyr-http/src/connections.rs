//! The open connections of a listener: their limits, and which one to close for a new one.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::activity::Activity;
use crate::service::Peer;

/// Most open connections of one listener.
const MAX_CONNECTIONS: usize = 1024;
/// Most open connections of one user over the Unix socket.
const MAX_PER_UID: usize = 256;

/// The connections of a listener, oldest first.
#[derive(Default)]
pub(crate) struct Connections(Vec<Connection>);

/// A handle to an open connection.
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    pub(crate) activity: Arc<Activity>,
    pub(crate) task: AbortHandle,
    pub(crate) shutdown: oneshot::Sender<()>,
}

impl Connections {
    pub(crate) fn push(&mut self, connection: Connection) {
        self.0.push(connection);
    }

    /// Closes stale connections and removes those that have ended.
    pub(crate) fn close_stale(&mut self) {
        self.0.retain(|connection| {
            if connection.activity.is_stale() {
                connection.task.abort();
            }
            !connection.task.is_finished() && !connection.activity.is_stale()
        });
    }

    /// Makes room for one more connection of `peer`: at the limit of its user or of the listener, closes the oldest
    /// idle one of those. Returns false if all are busy.
    pub(crate) fn make_room(&mut self, peer: Peer) -> bool {
        if self.0.len() >= MAX_CONNECTIONS / 2 {
            self.0.retain(|connection| !connection.task.is_finished());
        }
        let is_own =
            |connection: &Connection| matches!(peer, Peer::Uid(_)) && connection.peer == peer;
        let own = self.0.iter().filter(|connection| is_own(connection));
        let at_own_limit = own.count() >= MAX_PER_UID;
        if !at_own_limit && self.0.len() < MAX_CONNECTIONS {
            return true;
        }
        let may_be_closed = |connection: &Connection| {
            !connection.activity.is_busy() && (!at_own_limit || is_own(connection))
        };
        let Some(at) = self.0.iter().position(may_be_closed) else {
            return false;
        };
        self.0.remove(at).task.abort();
        true
    }

    /// Tells every connection to close once its current request is answered.
    pub(crate) fn shut_down(self) {
        for connection in self.0 {
            // The receiver is gone if the connection has ended.
            let _ = connection.shutdown.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::activity::Exchange;

    const LOCALHOST: Peer = Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));

    impl Connections {
        /// Adds connections that stay open until they are closed.
        fn open(&mut self, peer: Peer, count: usize) {
            for _ in 0..count {
                let task = tokio::spawn(std::future::pending::<()>());
                self.push(Connection {
                    peer,
                    activity: Activity::new(),
                    task: task.abort_handle(),
                    shutdown: oneshot::channel().0,
                });
            }
        }

        fn count(&self, peer: Peer) -> usize {
            let own = self.0.iter().filter(|connection| connection.peer == peer);
            own.count()
        }
    }

    fn answer(connection: &Connection) -> Exchange {
        let exchange = Exchange::new(&connection.activity);
        connection.activity.set_busy();
        exchange
    }

    fn answer_all(connections: &Connections) -> Vec<Exchange> {
        connections.0.iter().map(answer).collect()
    }

    #[tokio::test]
    async fn user_at_its_limit_loses_its_own_oldest_connection_only() {
        let (one, other) = (Peer::Uid(1), Peer::Uid(2));
        let mut connections = Connections::default();
        connections.open(other, 1);
        connections.open(one, MAX_PER_UID - 1);
        assert!(connections.make_room(one));
        assert_eq!(
            connections.count(one),
            MAX_PER_UID - 1,
            "none is closed below the limit"
        );
        connections.open(one, 1);
        let oldest = connections.0[1].task.clone();
        assert!(connections.make_room(one));
        let counts = |all: &Connections| (all.count(one), all.count(other));
        assert_eq!(counts(&connections), (MAX_PER_UID - 1, 1));
        tokio::task::yield_now().await;
        assert!(oldest.is_finished(), "the oldest connection is still open");
        connections.open(one, 1);
        let busy = answer_all(&connections);
        assert!(
            !connections.make_room(one),
            "all are busy, so none may be closed"
        );
        assert!(connections.make_room(other));
        assert_eq!(counts(&connections), (MAX_PER_UID, 1));
        drop(busy);
        assert!(connections.make_room(one));
    }

    #[tokio::test]
    async fn listener_at_its_limit_closes_the_oldest_idle_connection() {
        let mut connections = Connections::default();
        connections.open(LOCALHOST, MAX_CONNECTIONS - 1);
        assert!(connections.make_room(LOCALHOST));
        let count = connections.count(LOCALHOST);
        assert_eq!(count, MAX_CONNECTIONS - 1, "none is closed below the limit");
        connections.open(LOCALHOST, 1);
        let busy = answer(&connections.0[0]);
        let idle = connections.0[1].task.clone();
        assert!(connections.make_room(LOCALHOST));
        assert_eq!(connections.count(LOCALHOST), MAX_CONNECTIONS - 1);
        tokio::task::yield_now().await;
        assert!(idle.is_finished() && !connections.0[0].task.is_finished());
        connections.open(LOCALHOST, 1);
        let all = answer_all(&connections);
        assert!(
            !connections.make_room(LOCALHOST),
            "all are busy, so none may be closed"
        );
        assert_eq!(connections.count(LOCALHOST), MAX_CONNECTIONS);
        drop((busy, all));
    }
}
