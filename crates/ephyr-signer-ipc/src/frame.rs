//! Framing without I/O: a length of four bytes, big endian, then so many bytes of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Reply, Request};

/// Greatest body of a frame, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

const HEADER: usize = 4;

/// Why bytes are not a frame, or a frame is not a message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The body is longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes: at most {MAX_FRAME} are allowed")]
    TooLong(usize),
    /// The body is empty.
    #[error("an empty frame")]
    Empty,
    /// More bytes follow the one frame that a connection carries each way.
    #[error("bytes after the frame: a connection carries one request and one reply")]
    Trailing,
    /// The body is not a message of the kind expected.
    #[error("not a message: {0}")]
    Body(#[from] serde_json::Error),
}

/// What can stand in a frame.
pub trait Message: Serialize + DeserializeOwned + sealed::Sealed {}

impl Message for Request {}
impl Message for Reply {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Request {}
    impl Sealed for crate::Reply {}
}

/// The message as a frame, length first.
///
/// # Errors
///
/// [`FrameError::TooLong`] when it does not fit; nothing else.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, message)?;
    let len = frame.len() - HEADER;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len));
    }
    let header = u32::try_from(len).map_err(|_| FrameError::TooLong(len))?;
    frame[..HEADER].copy_from_slice(&header.to_be_bytes());
    Ok(frame)
}

/// The message in a frame's body.
///
/// # Errors
///
/// [`FrameError::Body`] when it is anything but exactly one message of the kind.
pub fn decode<M: Message>(body: &[u8]) -> Result<M, FrameError> {
    Ok(serde_json::from_slice(body)?)
}

/// Collects the one frame of a connection's direction from bytes as they come.
///
/// It holds what has arrived, never what a header only announces.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
}

impl FrameReader {
    /// A reader that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what has arrived; gives the body once it is whole.
    ///
    /// # Errors
    ///
    /// When the header announces too much or nothing, or more than the frame has arrived. The
    /// connection is then of no more use.
    pub fn feed(&mut self, arrived: &[u8]) -> Result<Option<&[u8]>, FrameError> {
        self.bytes.extend_from_slice(arrived);
        let Some((header, body)) = self.bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        match len {
            0 => Err(FrameError::Empty),
            _ if len > MAX_FRAME => Err(FrameError::TooLong(len)),
            _ if body.len() > len => Err(FrameError::Trailing),
            _ if body.len() < len => Ok(None),
            _ => Ok(Some(body)),
        }
    }

    /// Whether not a single byte has arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
