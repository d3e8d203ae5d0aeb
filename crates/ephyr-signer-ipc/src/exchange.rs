//! One request and its reply over a blocking stream.

use std::io::{self, Read, Write};

use crate::frame::{FrameError, FrameReader, decode, encode};
use crate::{Reply, Request};

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The stream failed.
    #[error("the connection to the signer failed: {0}")]
    Io(#[from] io::Error),
    /// The stream ended before the reply was whole: the signer refused the connection, is stopping,
    /// or dropped it at its deadline.
    #[error("the signer closed the connection without a whole reply")]
    Closed,
    /// What came is no reply, or the request does not fit into a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Sends the request and reads the reply, on a stream that was just connected to the signer. The
/// caller sets its time-outs and closes it afterwards.
///
/// # Errors
///
/// When the stream fails or ends, or the reply cannot be understood.
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
