//! Framing without I/O: a length as four bytes, big endian, then that many bytes of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Reply, Request};

/// Maximum length of a frame's body in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

const HEADER: usize = 4;

/// Why bytes are not a valid frame or message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The body is longer than [`MAX_FRAME`].
    #[error("the frame has {0} bytes; the maximum is {MAX_FRAME}")]
    TooLong(usize),
    /// The body is empty.
    #[error("the frame is empty")]
    Empty,
    /// Bytes follow the one frame that a connection carries in each direction.
    #[error("bytes follow the frame; a connection carries one request and one reply")]
    Trailing,
    /// The body is not a message of the expected type.
    #[error("the frame is not a valid message: {0}")]
    Body(#[from] serde_json::Error),
}

/// A message that a frame can carry.
pub trait Message: Serialize + DeserializeOwned + sealed::Sealed {}

impl Message for Request {}
impl Message for Reply {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Request {}
    impl Sealed for crate::Reply {}
}

/// Encodes a message as a frame.
///
/// # Errors
///
/// [`FrameError::TooLong`] if the body exceeds [`MAX_FRAME`].
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

/// Decodes the message in a frame's body.
///
/// # Errors
///
/// [`FrameError::Body`] unless the body is exactly one message of type `M`.
pub fn decode<M: Message>(body: &[u8]) -> Result<M, FrameError> {
    Ok(serde_json::from_slice(body)?)
}

/// Assembles the single frame of one direction of a connection from the bytes received.
///
/// It allocates for received bytes only, never for a length that a header announces.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
}

impl FrameReader {
    /// Returns an empty reader.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds received bytes and returns the body once it is complete.
    ///
    /// # Errors
    ///
    /// If the header announces an empty or oversized body, or if bytes follow the frame. The connection
    /// must then be closed.
    pub fn feed(&mut self, received: &[u8]) -> Result<Option<&[u8]>, FrameError> {
        self.bytes.extend_from_slice(received);
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

    /// Returns whether no byte has been received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
