//! From a permit to a connection whose host key is checked, and no further: no certificate is needed yet.

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
use crate::wire::{self, Cut};

/// How long connecting with the key exchange, and then the login, may take each.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of output that a server may send ahead of what was read.
const WINDOW: u32 = 1024 * 1024;

/// Packets of output that wait in memory at most.
const WAITING_PACKETS: usize = 8;

/// A connection that was silent for so long is asked for a sign of life, three times.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long connecting with the key exchange, and then the login, may take each.
    pub login_timeout: Duration,
    /// Whether a target without a pinned host key is refused (`global.host_key_strict`).
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

/// A connection to a target: keys are exchanged and the host key is the right one. Nobody is logged in.
pub struct Connection {
    pub(crate) session: Session,
    pub(crate) host_key: HostKeySeen,
    pub(crate) login_timeout: Duration,
}

/// The parts of a connection that live as long as it does.
pub(crate) struct Session {
    // Before the handle: the stream is cut first, so that the session's task ends whatever it waits for.
    pub(crate) cut: Cut,
    pub(crate) handle: client::Handle<Peer>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) farewell: Farewell,
    pub(crate) timings: Timings,
}

/// What the server said when it disconnected.
pub(crate) type Farewell = Arc<Mutex<Option<String>>>;

impl Connection {
    /// The host key that the target showed.
    #[must_use]
    pub fn host_key(&self) -> &HostKeySeen {
        &self.host_key
    }
}

/// Connects to the permit's target, exchanges keys and checks the host key. The attempt proves that the connection is
/// recorded already.
///
/// The future borrows neither, so it can run beside the signer's work. Dropping it, or the
/// connection, cuts the TCP connection.
///
/// # Errors
/// When the target cannot be reached, does not speak SSH, is too slow, or shows a host key that is not the
/// pinned one: see [`SshError`].
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
                // The server may hold the pinned key as well, under a kind that it likes less.
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

/// One attempt, with these kinds of host key.
async fn open(
    endpoint: &Arc<Endpoint>,
    options: &Options,
    kinds: Vec<Algorithm>,
    deadline: Instant,
) -> Result<Connection, SshError> {
    let started = Instant::now();
    let tcp = dial(endpoint, options, deadline).await?;
    let connected = Instant::now();
    let (wire, cut) = wire::pair(tcp).map_err(|error| unreachable(endpoint, &error.to_string()))?;

    let (seen, farewell) = (Arc::new(OnceLock::new()), Farewell::default());
    let peer = Peer {
        endpoint: Arc::clone(endpoint),
        strict: options.strict_host_keys,
        seen: Arc::clone(&seen),
        farewell: Arc::clone(&farewell),
    };
    // In a task of its own, so that a panic over what the server sends is an error here.
    let mut tasks = JoinSet::new();
    tasks.spawn(client::connect_stream(config(kinds), wire, peer));
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
        .ok_or_else(|| protocol(endpoint, Stage::KeyExchange, "no host key was shown"))?;
    Ok(Connection {
        session: Session {
            cut,
            handle,
            endpoint: Arc::clone(endpoint),
            farewell,
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

/// A TCP connection to the first address that answers; each gets an equal share of the time that is left.
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

    let mut last = unresolvable("the name service knows none".into());
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
        last = match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => unreachable(endpoint, &error.to_string()),
            Err(_) => too_late(),
        };
    }
    Err(last)
}

/// What we speak. OpenSSH does AES-GCM in hardware on all but the smallest machines.
fn config(kinds: Vec<Algorithm>) -> Arc<client::Config> {
    const CIPHERS: &[cipher::Name] = &[
        cipher::AES_256_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
    ];
    Arc::new(client::Config {
        window_size: WINDOW,
        channel_buffer_size: WAITING_PACKETS,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        preferred: Preferred {
            key: kinds.into(),
            cipher: CIPHERS.into(),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    })
}

/// What answers the server's messages that belong to no command.
pub(crate) struct Peer {
    endpoint: Arc<Endpoint>,
    strict: bool,
    seen: Arc<OnceLock<HostKeySeen>>,
    farewell: Farewell,
}

impl client::Handler for Peer {
    type Error = Failure;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Failure> {
        let Endpoint {
            target, host_key, ..
        } = &*self.endpoint;
        // Asked again at every new key exchange, and answered in the same way.
        let seen = host_key::check(target, host_key, self.strict, &shown.public_key())
            .map_err(|error| Failure::Refused(Box::new(error)))?;
        if *self.seen.get_or_init(|| seen.clone()) != seen {
            return Err(Failure::Refused(Box::new(SshError::HostKeyChanged {
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

    // A server opens no channels here. Accepting them, as the library does by itself, would let it grow the broker's
    // memory: dropping `reply` refuses.

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Failure> {
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
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Failure> {
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
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failure>) -> Result<(), Failure> {
        match reason {
            DisconnectReason::ReceivedDisconnect(said) => {
                let mut farewell = self.farewell.lock().unwrap_or_else(PoisonError::into_inner);
                *farewell = Some(quoted(&said.message));
                Ok(())
            }
            DisconnectReason::Error(failure) => Err(failure),
        }
    }
}

/// Why a session ended.
#[derive(Debug)]
pub(crate) enum Failure {
    /// We refused the server.
    Refused(Box<SshError>),
    /// The protocol, the stream or the session's task failed.
    Session(russh::Error),
}

impl From<russh::Error> for Failure {
    fn from(error: russh::Error) -> Self {
        Self::Session(error)
    }
}

impl Failure {
    /// As an error of this stage.
    pub(crate) fn into_error(self, endpoint: &Endpoint, stage: Stage) -> SshError {
        use russh::Error;
        match self {
            Self::Refused(error) => *error,
            Self::Session(Error::Join(_)) => crashed(endpoint, stage),
            Self::Session(
                error @ (Error::Disconnect | Error::HUP | Error::SendError | Error::RecvError),
            ) => closed(endpoint, stage, &error.to_string()),
            Self::Session(Error::IO(error)) if error.kind() != std::io::ErrorKind::Other => {
                closed(endpoint, stage, &error.to_string())
            }
            Self::Session(error) => protocol(endpoint, stage, &error.to_string()),
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
