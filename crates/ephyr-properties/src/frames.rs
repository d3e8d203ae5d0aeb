//! What broker and signer say to each other.

use ephyr_signer_ipc::{FrameReader, MAX_FRAME, Message, Reply, Request, decode, encode};

use crate::{Broken, ensure, must};

/// A frame is the same in whatever pieces it comes; nothing beyond its bound is kept; and a message that
/// is read is written so that reading it again gives the same.
///
/// The input's first byte says where the bytes that follow are cut.
///
/// # Errors
/// How it is broken.
pub fn signer_frames(input: &[u8]) -> Result<(), Broken> {
    let Some((cut, bytes)) = input.split_first() else {
        return Ok(());
    };
    // The same bytes as the body alone, so that one mutation does not have to get the length right as well.
    round_trip::<Request>(bytes)?;
    round_trip::<Reply>(bytes)?;
    let whole = read(&[bytes]);
    let (head, tail) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let pieces = read(&[head, tail]);
    ensure(whole == pieces, || {
        format!("cut at {cut} it is another frame: {pieces:?} instead of {whole:?}")
    })?;
    if let Ok(Some(body)) = whole {
        ensure(body.len() <= MAX_FRAME, || "beyond the bound".to_owned())?;
        ensure(bytes[4..] == body, || "another body".to_owned())?;
        round_trip::<Request>(&body)?;
    }
    Ok(())
}

/// What a reader makes of pieces: a body, nothing yet, or an error by its text.
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

fn round_trip<M: Message + PartialEq>(body: &[u8]) -> Result<(), Broken> {
    let Ok(message) = decode::<M>(body) else {
        return Ok(());
    };
    // A message that came in a frame can be longer when it is written anew: `\u0001` for a byte, say.
    let Ok(frame) = encode(&message) else {
        return ensure(body.len() > MAX_FRAME / 6, || {
            "it cannot be written".to_owned()
        });
    };
    let again = must(read(&[&frame]), "its own frame")?;
    let again = again.ok_or("its own frame is not whole")?;
    let read: M = must(decode(&again), "its own body")?;
    ensure(read == message, || "another message".to_owned())?;
    let twice = must(encode(&read), "the same once more")?;
    ensure(twice == frame, || "another spelling each time".to_owned())
}
