//! Accepts a listener's connections and hands them to the serving threads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::either::Either;

use crate::activity::Activity;
use crate::connection::serve_connection;
use crate::connections::{Connection, Connections};
use crate::service::{Peer, Service};
use crate::workers::Workers;

/// Interval at which stale connections are closed.
const STALE_CHECK: Duration = Duration::from_secs(5);
/// Pause after a failed accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// A listening socket.
pub enum Listener {
    /// A Unix socket.
    Unix(UnixListener),
    /// A TCP socket.
    Tcp(TcpListener),
}

/// An accepted connection that is not registered with a runtime yet.
enum Accepted {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream),
}

impl Accepted {
    /// Registers the connection with the current runtime.
    fn register(self) -> io::Result<Either<UnixStream, TcpStream>> {
        Ok(match self {
            Self::Unix(stream) => Either::Left(UnixStream::from_std(stream)?),
            Self::Tcp(stream) => Either::Right(TcpStream::from_std(stream)?),
        })
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Accepted::Unix(stream.into_std()?), Peer::Uid(uid)))
            }
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Accepted::Tcp(stream.into_std()?), Peer::Ip(address.ip())))
            }
        }
    }
}

/// Serves a listener's connections on `workers` until `stop` becomes true, then lets running requests end within
/// `grace`.
pub async fn serve<S: Service>(
    listener: Listener,
    service: Arc<S>,
    workers: Arc<Workers>,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let mut tasks = JoinSet::new();
    let mut connections = Connections::default();
    let mut stale_check = tokio::time::interval(STALE_CHECK);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = tasks.join_next() => continue,
            _ = stale_check.tick() => {
                connections.close_stale();
                continue;
            }
        };
        match accepted {
            Ok((accepted, peer)) if connections.make_room(peer) => {
                let activity = Activity::new();
                let (shutdown, on_shutdown) = oneshot::channel();
                let task = {
                    let (activity, service) = (Arc::clone(&activity), Arc::clone(&service));
                    async move {
                        // Fails if no file descriptor is left; then the connection is closed.
                        if let Ok(stream) = accepted.register() {
                            serve_connection(stream, peer, activity, service, on_shutdown).await;
                        }
                    }
                };
                connections.push(Connection {
                    peer,
                    activity,
                    task: tasks.spawn_on(task, workers.next()),
                    shutdown,
                });
            }
            // All connections are busy: the new one is closed, since its client can retry.
            Ok(_) => {}
            // No file descriptor is left, or the peer has already closed the connection.
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
    drop(listener);
    connections.shut_down();
    let rest = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(grace, rest).await;
}
