//! Connects to a permit's target and checks its host key. No certificate is needed yet.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ephyr_audit::Attempt;
use ephyr_policy::{HostKey, SshPermit};
use russh::client::{self, ChannelOpenHandle, DisconnectReason, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, Preferred, cipher};
use ssh_key::Algorithm;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::endpoint::Endpoint;
use crate::error::{SshError, Stage, quoted};
use crate::host_key::{self, HostKeySeen};
use crate::timings::Timings;
use crate::wire::{self, CloseGuard};

/// Default time limit of connecting with the key exchange, and again of the login.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of output that a server may send ahead of what was read (RFC 4254, section 5.2).
const WINDOW: u32 = 1024 * 1024;

/// Most packets of output that wait in memory.
const MAX_QUEUED_PACKETS: usize = 8;

/// Interval of keepalive requests on an idle connection; it is closed after three without an answer.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Options of [`connect`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Time limit of connecting with the key exchange, and again of the login.
    pub login_timeout: Duration,
    /// Whether to refuse a target without a pinned host key (`global.host_key_strict`).
    pub strict_host_keys: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            login_timeout: LOGIN_TIMEOUT,
            strict_host_keys: true,
        }
    }
}

/// A connection to a target after the key exchange and the host key check, before the login.
pub struct Connection {
    pub(crate) session: SshSession,
    pub(crate) host_key: HostKeySeen,
    pub(crate) login_timeout: Duration,
}

/// The state of an open connection.
pub(crate) struct SshSession {
    // Dropped before the handle: closing the stream ends the session's task, whatever it waits for.
    pub(crate) close_guard: CloseGuard,
    pub(crate) handle: client::Handle<ClientHandler>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) disconnect_message: DisconnectMessage,
    pub(crate) timings: Timings,
}

/// The text of the server's SSH_MSG_DISCONNECT.
pub(crate) type DisconnectMessage = Arc<Mutex<Option<String>>>;

impl Connection {
    /// Returns the host key that the target presented.
    #[must_use]
    pub fn host_key(&self) -> &HostKeySeen {
        &self.host_key
    }
}

/// Connects to the permit's target, exchanges keys and checks the host key. `_attempt` proves that the
/// attempt is already in the audit log.
///
/// The future borrows nothing, so it can run while the signer issues the certificate. Dropping it or the
/// connection closes the TCP connection.
///
/// # Errors
/// When the target cannot be reached, does not speak SSH, is too slow, or presents a host key that is not
/// pinned: see [`SshError`].
pub fn connect(
    permit: &SshPermit,
    _attempt: &Attempt,
    options: &Options,
) -> impl Future<Output = Result<Connection, SshError>> + Send + use<> {
    let endpoint = Arc::new(Endpoint::from(permit));
    let options = options.clone();
    async move {
        let offers = host_key::offers(&endpoint.target, &endpoint.host_key)?;
        let deadline = Instant::now() + options.login_timeout;
        let mut first = None;
        for offer in offers {
            match open(&endpoint, &options, offer, deadline).await {
                // The server may also have the pinned key, under an algorithm that it prefers less.
                Err(changed @ SshError::HostKeyChanged { .. })
                    if matches!(endpoint.host_key, HostKey::Fingerprint(_)) =>
                {
                    first.get_or_insert(changed);
                }
                Err(other) => return Err(first.unwrap_or(other)),
                done => return done,
            }
        }
        Err(first.unwrap_or_else(|| protocol(&endpoint, Stage::KeyExchange, "no host key")))
    }
}

/// Opens one connection that offers these host key algorithms.
async fn open(
    endpoint: &Arc<Endpoint>,
    options: &Options,
    algorithms: Vec<Algorithm>,
    deadline: Instant,
) -> Result<Connection, SshError> {
    let started = Instant::now();
    let tcp = dial(endpoint, options, deadline).await?;
    let connected = Instant::now();
    let (stream, close_guard) =
        wire::pair(tcp).map_err(|error| unreachable(endpoint, &error.to_string()))?;

    let (seen, disconnect_message) = (Arc::new(OnceLock::new()), DisconnectMessage::default());
    let handler = ClientHandler {
        endpoint: Arc::clone(endpoint),
        strict: options.strict_host_keys,
        seen: Arc::clone(&seen),
        disconnect_message: Arc::clone(&disconnect_message),
    };
    // In its own task, so that a panic on malformed input becomes an error here.
    let mut tasks = JoinSet::new();
    tasks.spawn(client::connect_stream(config(algorithms), stream, handler));
    let joined = timeout_at(deadline, tasks.join_next()).await;
    let handle = match joined {
        Err(_) => {
            return Err(timed_out(
                endpoint,
                Stage::KeyExchange,
                options.login_timeout,
            ));
        }
        Ok(Some(Ok(Ok(handle)))) => handle,
        Ok(Some(Ok(Err(failure)))) => {
            return Err(failure.into_error(endpoint, Stage::KeyExchange));
        }
        Ok(Some(Err(_)) | None) => return Err(crashed(endpoint, Stage::KeyExchange)),
    };
    let host_key = seen
        .get()
        .cloned()
        .ok_or_else(|| protocol(endpoint, Stage::KeyExchange, "no host key was presented"))?;
    Ok(Connection {
        session: SshSession {
            close_guard,
            handle,
            endpoint: Arc::clone(endpoint),
            disconnect_message,
            timings: Timings {
                connect: connected - started,
                kex: connected.elapsed(),
                ..Timings::default()
            },
        },
        host_key,
        login_timeout: options.login_timeout,
    })
}

/// Opens a TCP connection to the first address that answers. Each address gets an equal share of the
/// remaining time, so that one that drops packets does not use it up.
async fn dial(
    endpoint: &Endpoint,
    options: &Options,
    deadline: Instant,
) -> Result<TcpStream, SshError> {
    let too_late = || timed_out(endpoint, Stage::Connect, options.login_timeout);
    let unresolvable = |reason: String| SshError::Unresolvable {
        target: endpoint.target.clone(),
        host: endpoint.host.clone(),
        reason,
    };
    let lookup = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
    let addresses: Vec<SocketAddr> = timeout_at(deadline, lookup)
        .await
        .map_err(|_| too_late())?
        .map_err(|error| unresolvable(error.to_string()))?
        .collect();

    let mut last = unresolvable("the resolver returned none".into());
    for (index, address) in addresses.iter().enumerate() {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let share = remaining / u32::try_from(addresses.len() - index).unwrap_or(1);
        last = match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => unreachable(endpoint, &error.to_string()),
            Err(_) => too_late(),
        };
    }
    Err(last)
}

/// The client's configuration. AES-GCM comes first: most CPUs have instructions for it.
fn config(algorithms: Vec<Algorithm>) -> Arc<client::Config> {
    const CIPHERS: &[cipher::Name] = &[
        cipher::AES_256_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
    ];
    Arc::new(client::Config {
        window_size: WINDOW,
        channel_buffer_size: MAX_QUEUED_PACKETS,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        preferred: Preferred {
            key: algorithms.into(),
            cipher: CIPHERS.into(),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    })
}

/// Handles the server's messages that do not belong to a command's channel.
pub(crate) struct ClientHandler {
    endpoint: Arc<Endpoint>,
    strict: bool,
    seen: Arc<OnceLock<HostKeySeen>>,
    disconnect_message: DisconnectMessage,
}

impl client::Handler for ClientHandler {
    type Error = HandlerError;

    async fn check_server_key(
        &mut self,
        presented: &PublicKeyOrCertificate,
    ) -> Result<bool, HandlerError> {
        let Endpoint {
            target, host_key, ..
        } = &*self.endpoint;
        // Called again at each rekey, which must show the same key.
        let seen = host_key::check(target, host_key, self.strict, &presented.public_key())
            .map_err(|error| HandlerError::Refused(Box::new(error)))?;
        if *self.seen.get_or_init(|| seen.clone()) != seen {
            return Err(HandlerError::Refused(Box::new(SshError::HostKeyChanged {
                target: target.clone(),
                expected: self
                    .seen
                    .get()
                    .map(|s| s.fingerprint.clone())
                    .into_iter()
                    .collect(),
                seen: seen.fingerprint,
            })));
        }
        Ok(true)
    }

    // Channels opened by the server are refused, which dropping `reply` does. The library accepts them by
    // default, and each would take memory in the broker.

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _connected_address: &str,
        _connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), HandlerError> {
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<HandlerError>,
    ) -> Result<(), HandlerError> {
        match reason {
            DisconnectReason::ReceivedDisconnect(received) => {
                let text = Some(quoted(&received.message));
                let slot = self.disconnect_message.lock();
                *slot.unwrap_or_else(PoisonError::into_inner) = text;
                Ok(())
            }
            DisconnectReason::Error(failure) => Err(failure),
        }
    }
}

/// Why the SSH session ended.
#[derive(Debug)]
pub(crate) enum HandlerError {
    /// The handler refused the server.
    Refused(Box<SshError>),
    /// The protocol, the stream or the session's task failed.
    Library(russh::Error),
}

impl From<russh::Error> for HandlerError {
    fn from(error: russh::Error) -> Self {
        Self::Library(error)
    }
}

impl HandlerError {
    /// Converts to an error of this stage.
    pub(crate) fn into_error(self, endpoint: &Endpoint, stage: Stage) -> SshError {
        use russh::Error;
        match self {
            Self::Refused(error) => *error,
            Self::Library(Error::Join(_)) => crashed(endpoint, stage),
            Self::Library(
                error @ (Error::Disconnect | Error::HUP | Error::SendError | Error::RecvError),
            ) => closed(endpoint, stage, &error.to_string()),
            Self::Library(Error::IO(error)) if error.kind() != std::io::ErrorKind::Other => {
                closed(endpoint, stage, &error.to_string())
            }
            Self::Library(error) => protocol(endpoint, stage, &error.to_string()),
        }
    }
}

pub(crate) fn timed_out(endpoint: &Endpoint, stage: Stage, after: Duration) -> SshError {
    SshError::TimedOut {
        target: endpoint.target.clone(),
        stage,
        after,
    }
}

pub(crate) fn crashed(endpoint: &Endpoint, stage: Stage) -> SshError {
    SshError::Crashed {
        target: endpoint.target.clone(),
        stage,
    }
}

pub(crate) fn closed(endpoint: &Endpoint, stage: Stage, reason: &str) -> SshError {
    SshError::Closed {
        target: endpoint.target.clone(),
        stage,
        reason: quoted(reason),
    }
}

fn protocol(endpoint: &Endpoint, stage: Stage, reason: &str) -> SshError {
    SshError::Protocol {
        target: endpoint.target.clone(),
        stage,
        reason: quoted(reason),
    }
}

fn unreachable(endpoint: &Endpoint, reason: &str) -> SshError {
    SshError::Unreachable {
        target: endpoint.target.clone(),
        address: endpoint.address(),
        reason: reason.to_owned(),
    }
}
