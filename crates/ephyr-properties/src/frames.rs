//! The frames between broker and signer.

use ephyr_signer_ipc::{FrameReader, MAX_FRAME, Message, Reply, Request, decode, encode};

use crate::{Violation, ensure, expect_ok};

/// Checks that fragmentation does not change a frame, that no body exceeds the limit and that a decoded
/// message survives encoding and decoding.
///
/// The input's first byte is the offset at which the remaining bytes are split.
///
/// # Errors
/// The violation.
pub fn signer_frames(input: &[u8]) -> Result<(), Violation> {
    let Some((cut, bytes)) = input.split_first() else {
        return Ok(());
    };
    // Also decode the bytes as a body alone, so that a mutation need not keep the length prefix consistent.
    round_trip::<Request>(bytes)?;
    round_trip::<Reply>(bytes)?;
    let whole = read(&[bytes]);
    let (head, tail) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let pieces = read(&[head, tail]);
    ensure(whole == pieces, || {
        format!("split at {cut} it is another frame: {pieces:?} instead of {whole:?}")
    })?;
    if let Ok(Some(body)) = whole {
        ensure(body.len() <= MAX_FRAME, || {
            "the body exceeds the limit".to_owned()
        })?;
        ensure(bytes[4..] == body, || {
            "the body differs from the input".to_owned()
        })?;
        round_trip::<Request>(&body)?;
    }
    Ok(())
}

/// Feeds the pieces to a reader; returns the body, `None` if incomplete, or the error's text.
fn read(pieces: &[&[u8]]) -> Result<Option<Vec<u8>>, String> {
    let mut reader = FrameReader::new();
    let mut body = None;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        body = reader
            .feed(piece)
            .map_err(|error| error.to_string())?
            .map(<[u8]>::to_vec);
    }
    Ok(body)
}

fn round_trip<M: Message + PartialEq>(body: &[u8]) -> Result<(), Violation> {
    let Ok(message) = decode::<M>(body) else {
        return Ok(());
    };
    // Encoding can lengthen a message by up to six times, as a control character becomes `\u0001`.
    let Ok(frame) = encode(&message) else {
        return ensure(body.len() > MAX_FRAME / 6, || {
            "the decoded message cannot be encoded".to_owned()
        });
    };
    let again = expect_ok(read(&[&frame]), "the encoded frame cannot be read")?;
    let again = again.ok_or("the encoded frame is incomplete")?;
    let read: M = expect_ok(decode(&again), "the encoded body cannot be decoded")?;
    ensure(read == message, || {
        "the message changed in a round trip".to_owned()
    })?;
    let twice = expect_ok(encode(&read), "the message cannot be encoded again")?;
    ensure(twice == frame, || "the encoding is not stable".to_owned())
}
