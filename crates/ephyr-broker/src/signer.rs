//! The broker's way to the signer: one connection a request.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ephyr_signer_ipc::{ErrorCode, FrameError, FrameReader, Reply, Request, decode, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The signer answers within its own deadline of 5 s or not at all.
const TIMEOUT: Duration = Duration::from_secs(6);

/// Talks to the signer.
#[derive(Debug, Clone)]
pub struct Signer {
    socket: PathBuf,
}

/// Why the signer gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// It cannot be reached; nothing was asked.
    #[error("the signer cannot be reached: {0}")]
    Unreachable(io::Error),
    /// The question is too long; nothing was asked.
    #[error("the request cannot be put to the signer: {0}")]
    Unsendable(FrameError),
    /// It went away before it had answered.
    #[error("the signer went away before it had answered: {0}")]
    Lost(#[from] io::Error),
    /// It took longer than it may.
    #[error("the signer did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// What it sent is no reply.
    #[error("the signer's reply cannot be understood: {0}")]
    Frame(#[from] FrameError),
    /// It said no.
    #[error("the signer refused ({code}): {message}")]
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// With a checkpoint: how many records it has folded.
        expected: Option<u64>,
    },
    /// It answered another question.
    #[error("the signer answered another question than was asked")]
    Unexpected,
}

impl SignerError {
    /// Whether the same request can succeed later without anyone's doing.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Lost(_) | Self::Timeout => true,
            Self::Refused { code, .. } => code.is_retryable(),
            Self::Unsendable(_) | Self::Frame(_) | Self::Unexpected => false,
        }
    }

    /// Whether the signer may have done what it was asked for.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Unsendable(_) | Self::Refused { .. } => false,
            Self::Lost(_) | Self::Timeout | Self::Frame(_) | Self::Unexpected => true,
        }
    }
}

impl Signer {
    /// A client of the signer at this socket.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks once.
    ///
    /// # Errors
    /// [`SignerError`]; a refusal is one too.
    pub async fn ask(&self, request: &Request) -> Result<Reply, SignerError> {
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
                let why = "it closed the connection without a whole reply";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why).into());
            }
            if let Some(body) = reader.feed(&buffer[..n])? {
                return Ok(decode(body)?);
            }
        }
    }
}
