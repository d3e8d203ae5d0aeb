//! The client side: one request and its reply over a blocking stream.

use std::io::{self, Read, Write};

use crate::frame::{FrameError, FrameReader, decode, encode};
use crate::{Reply, Request};

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Reading or writing the stream failed.
    #[error("the connection to the signer failed: {0}")]
    Io(#[from] io::Error),
    /// The stream ended before the reply was complete: the signer refused the connection, is shutting
    /// down, or closed it at its deadline.
    #[error("the signer closed the connection before its reply was complete")]
    Closed,
    /// The reply is invalid, or the request exceeds a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Sends the request and reads the reply on a stream newly connected to the signer. The caller sets the
/// stream's timeouts and closes it afterwards.
///
/// # Errors
///
/// If the stream fails or ends early, or if the reply is invalid.
pub fn exchange<S: Read + Write>(
    stream: &mut S,
    request: &Request,
) -> Result<Reply, ExchangeError> {
    stream.write_all(&encode(request)?)?;
    let mut reader = FrameReader::new();
    let mut buffer = [0; 4096];
    loop {
        let n = match stream.read(&mut buffer) {
            Ok(0) => return Err(ExchangeError::Closed),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if let Some(body) = reader.feed(&buffer[..n])? {
            return Ok(decode(body)?);
        }
    }
}
