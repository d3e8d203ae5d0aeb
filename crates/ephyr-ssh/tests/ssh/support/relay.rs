//! A TCP relay that can fail.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards one connection until it is silenced or closed.
pub(crate) struct Relay {
    pub(crate) port: u16,
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Silent,
    Closed,
}

impl Relay {
    /// Starts a relay to a local port, for one connection.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(watch::Sender::new(State::Open));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::join!(
                pass(near_in, far_out, shared.subscribe()),
                pass(far_in, near_out, shared.subscribe()),
            );
        });
        Self { port: own, state }
    }

    /// Stops forwarding and keeps both connections open.
    pub(crate) fn fall_silent(&self) {
        self.state.send_replace(State::Silent);
    }

    /// Closes both connections.
    pub(crate) fn close(&self) {
        self.state.send_replace(State::Closed);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) {
    let mut data = [0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            _ = state.wait_for(|state| *state != State::Open) => break,
            read = from.read(&mut data) => read,
        };
        match read {
            Ok(length @ 1..) if to.write_all(&data[..length]).await.is_ok() => {}
            _ => return,
        }
    }
    let _ = state.wait_for(|state| *state == State::Closed).await;
}
