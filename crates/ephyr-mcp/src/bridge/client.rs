//! The bridge's HTTP client: a connection pool, and POST requests that are sent at most once.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

/// Maximum number of idle connections.
const MAX_IDLE: usize = 8;
/// Delay between attempts to connect.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Opens connections to the server.
pub trait Connect: Send + Sync + 'static {
    /// The connection's stream.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens a connection.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    /// The request was not sent.
    #[error("the server cannot be reached: {0}")]
    Unreachable(io::Error),
    /// The server does not speak HTTP.
    #[error("the server there does not speak HTTP; is it the broker's address? ({0})")]
    NotHttp(hyper::Error),
    /// The connection was lost after the request was sent.
    #[error("the connection was lost before a response arrived: {0}")]
    Broken(hyper::Error),
}

impl PostError {
    /// Returns whether a request with effects may have taken effect.
    pub(crate) fn may_have_acted(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    fn sent(error: hyper::Error) -> Self {
        if is_not_http(&error) {
            Self::NotHttp(error)
        } else {
            Self::Broken(error)
        }
    }

    fn unsent(error: hyper::Error) -> Self {
        if is_not_http(&error) {
            Self::NotHttp(error)
        } else {
            Self::Unreachable(io::Error::other(error))
        }
    }
}

/// Returns whether a connection failed because the server does not speak HTTP: its response is not HTTP, or
/// it sends data before any request, as an SSH server does.
#[must_use]
pub fn is_not_http(error: &hyper::Error) -> bool {
    let unasked =
        |source: &dyn std::error::Error| source.to_string().contains("unexpected message");
    error.is_parse() || std::error::Error::source(error).is_some_and(unasked)
}

/// Sends requests over pooled connections.
pub(crate) struct Client<C> {
    connect: C,
    /// How long to retry an unreachable server, which may be restarting.
    patience: Duration,
    idle: Mutex<Vec<Connection>>,
}

/// A connection, closed on drop.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<C: Connect> Client<C> {
    pub(crate) fn new(connect: C, patience: Duration) -> Self {
        Self {
            connect,
            patience,
            idle: Mutex::default(),
        }
    }

    /// Sends a request. Retries only if hyper hands the request back, which means that it was not sent.
    pub(crate) async fn post(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), PostError> {
        loop {
            let (mut connection, is_fresh) = match self.take_idle() {
                Some(connection) => (connection, false),
                None => (self.open().await?, true),
            };
            let failure = match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(failure) => failure,
            };
            let mut failure = failure;
            match failure.take_message() {
                Some(unsent) if !is_fresh => request = unsent,
                Some(_) => return Err(PostError::unsent(failure.into_error())),
                None => return Err(PostError::sent(failure.into_error())),
            }
        }
    }

    /// Returns a connection to the pool after its response was read to the end.
    pub(crate) fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE && !connection.sender.is_closed() {
            idle.push(connection);
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    async fn open(&self) -> Result<Connection, PostError> {
        let deadline = Instant::now() + self.patience;
        let io = loop {
            match self.connect.connect().await {
                Ok(io) => break io,
                Err(error) if Instant::now() >= deadline => {
                    return Err(PostError::Unreachable(error));
                }
                Err(_) => sleep(RETRY_DELAY).await,
            }
        };
        let (sender, driver) = handshake(TokioIo::new(io))
            .await
            .map_err(|error| PostError::Unreachable(io::Error::other(error)))?;
        let driver = tokio::spawn(async move {
            // `send_request` reports the failure as well.
            driver.await.ok();
        });
        Ok(Connection {
            sender,
            driver: driver.abort_handle(),
        })
    }
}
