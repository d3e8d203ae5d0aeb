//! The signer's client: one connection per request.
//!
//! Only [`Signer::sign`] returns a credential for a target, and it requires the permit and the recorded attempt.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ephyr_audit::{Attempt, Checkpoint, Unsigned};
use ephyr_names::{Digest, EpochId, Serial, Timestamp};
use ephyr_policy::{Purpose, SshPermit};
use ephyr_signer_ipc::{
    BrokerId, ErrorCode, FrameError, FrameReader, Intent, PublicKeyBytes, Reply, Request,
    SandboxReport, decode, encode,
};
use ephyr_token::{DelegationCertificate, DelegationPayload};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Time allowed for a reply. The signer answers within its own deadline of 5 s or not at all.
const TIMEOUT: Duration = Duration::from_secs(6);

/// A client of the signer.
#[derive(Debug, Clone)]
pub struct Signer {
    socket: PathBuf,
}

/// A certificate issued by the signer.
#[derive(Debug)]
pub struct SignedCertificate {
    /// The certificate, an OpenSSH line.
    pub certificate: String,
    /// Its serial.
    pub serial: Serial,
    /// Its expiry.
    pub expires: Timestamp,
}

/// The signer's description of itself.
#[derive(Debug)]
pub struct Pong {
    /// Its version.
    pub version: String,
    /// The hash of its policy.
    pub policy: Digest,
    /// The state of its sandbox.
    pub sandbox: SandboxReport,
}

/// Why a request to the signer failed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The connection failed; nothing was sent.
    #[error("the signer cannot be reached: {0}")]
    Unreachable(io::Error),
    /// The request is too long; nothing was sent.
    #[error("the request to the signer cannot be encoded: {0}")]
    Unsendable(FrameError),
    /// The connection was lost before the reply.
    #[error("the connection to the signer was lost before its reply: {0}")]
    Lost(#[from] io::Error),
    /// No reply arrived in time.
    #[error("the signer did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The reply is malformed.
    #[error("the signer's reply is malformed: {0}")]
    Frame(#[from] FrameError),
    /// The signer refused.
    #[error("the signer refused ({code}): {message}")]
    Refused {
        /// The reason code.
        code: ErrorCode,
        /// The reason in words.
        message: String,
        /// For a checkpoint: the number of records that the signer has countersigned.
        expected: Option<u64>,
    },
    /// The reply belongs to another kind of request.
    #[error("the signer's reply does not match the request")]
    Unexpected,
}

impl SignerError {
    /// Returns whether the signer refused because it has another policy, as during a reload.
    #[must_use]
    pub fn is_reloading(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: ErrorCode::PolicyMismatch,
                ..
            }
        )
    }

    /// Returns whether the signer may have carried out the request.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Unsendable(_) | Self::Refused { .. } => false,
            Self::Lost(_) | Self::Timeout | Self::Frame(_) | Self::Unexpected => true,
        }
    }
}

impl Signer {
    /// Returns a client of the signer at this socket.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Requests the certificate that a permit allows, for this public key (an OpenSSH line).
    ///
    /// # Errors
    /// [`SignerError`]; a certificate may exist anyway if [`SignerError::may_have_acted`].
    pub async fn sign(
        &self,
        permit: &SshPermit,
        _attempt: &Attempt,
        public_key: String,
    ) -> Result<SignedCertificate, SignerError> {
        let purpose = match permit.purpose() {
            Purpose::Exec { command } => ephyr_signer_ipc::Purpose::Exec {
                command: command.clone(),
                stdin_digest: None,
            },
            Purpose::User => ephyr_signer_ipc::Purpose::User,
        };
        let authorization = permit.authorization();
        let intent = Intent {
            policy: authorization.policy_hash(),
            agent: authorization.agent().clone(),
            target: permit.target().name().clone(),
            role: permit.target().role().clone(),
            ttl: permit.ttl(),
            public_key,
            purpose,
            task: authorization.task(),
            lineage: authorization.lineage().to_vec(),
        };
        match self.ask(&Request::Sign { intent }).await? {
            Reply::Certificate {
                certificate,
                serial,
                expires,
            } => Ok(SignedCertificate {
                certificate,
                serial,
                expires,
            }),
            _ => Err(SignerError::Unexpected),
        }
    }

    /// Asks the signer to describe itself.
    ///
    /// # Errors
    /// [`SignerError`].
    pub async fn ping(&self) -> Result<Pong, SignerError> {
        match self.ask(&Request::Ping {}).await? {
            Reply::Pong {
                version,
                policy,
                sandbox,
                ..
            } => Ok(Pong {
                version,
                policy,
                sandbox,
            }),
            _ => Err(SignerError::Unexpected),
        }
    }

    /// Requests a delegation certificate for the key of a new epoch. The caller verifies it.
    ///
    /// # Errors
    /// [`SignerError`].
    pub async fn delegate(
        &self,
        epoch: EpochId,
        public_key: [u8; 32],
        broker_id: BrokerId,
    ) -> Result<DelegationCertificate, SignerError> {
        let request = Request::Delegate {
            epoch,
            public_key: PublicKeyBytes(public_key),
            broker_id,
            mint_for: None,
        };
        match self.ask(&request).await? {
            Reply::Delegation {
                epoch,
                broker_id,
                public_key,
                issued_at,
                mint_until,
                valid_until,
                signature,
            } => Ok(DelegationCertificate {
                payload: DelegationPayload {
                    epoch,
                    broker_id: broker_id.as_str().to_owned(),
                    public_key: public_key.0,
                    issued_at,
                    mint_until,
                    valid_until,
                },
                signature,
            }),
            _ => Err(SignerError::Unexpected),
        }
    }

    /// Requests the CA's public key, an OpenSSH line.
    ///
    /// # Errors
    /// [`SignerError`].
    pub async fn root_public_key(&self) -> Result<String, SignerError> {
        match self.ask(&Request::RootPublicKey {}).await? {
            Reply::RootPublicKey { public_key } => Ok(public_key),
            _ => Err(SignerError::Unexpected),
        }
    }

    /// Requests a countersignature over the log up to the last of these records.
    pub(crate) async fn checkpoint(&self, unsigned: Unsigned) -> Result<Checkpoint, SignerError> {
        let request = Request::Checkpoint {
            log: unsigned.log,
            from: unsigned.from,
            hashes: unsigned.hashes,
        };
        match self.ask(&request).await? {
            Reply::Checkpoint {
                log,
                count,
                head,
                time,
                signature,
            } => Ok(Checkpoint {
                log,
                count,
                head,
                time,
                signature,
            }),
            _ => Err(SignerError::Unexpected),
        }
    }

    /// Sends one request. A refusal is an error.
    async fn ask(&self, request: &Request) -> Result<Reply, SignerError> {
        let frame = encode(request).map_err(SignerError::Unsendable)?;
        let reply = tokio::time::timeout(TIMEOUT, self.exchange(&frame));
        match reply.await.map_err(|_| SignerError::Timeout)?? {
            Reply::Error {
                code,
                message,
                expected,
            } => Err(SignerError::Refused {
                code,
                message,
                expected,
            }),
            reply => Ok(reply),
        }
    }

    async fn exchange(&self, frame: &[u8]) -> Result<Reply, SignerError> {
        let mut stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            let why = format!("{}: {error}", self.socket.display());
            SignerError::Unreachable(io::Error::new(error.kind(), why))
        })?;
        stream.write_all(frame).await?;
        let mut reader = FrameReader::new();
        let mut buffer = [0; 4096];
        loop {
            let n = stream.read(&mut buffer).await?;
            if n == 0 {
                let why = "connection closed before the reply was complete";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why).into());
            }
            if let Some(body) = reader.feed(&buffer[..n])? {
                return Ok(decode(body)?);
            }
        }
    }
}
