//! A readable view of a token, decoded without its key and therefore unverified.

use ephyr_names::{Digest, EpochId, TaskId};
use serde::Serialize;

use crate::Envelope;
use crate::error::TokenError;
use crate::keys::Initiator;
use crate::reduce::reduce;
use crate::segment::Segment;
use crate::wire::Token;

/// The content of an **unverified** token. Anyone can write one, so it must not drive any decision.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Always false: only the broker can verify a token.
    pub verified: bool,
    /// SHA-256 of the token's bytes, as audit records name it.
    pub digest: Digest,
    /// The token's length in bytes.
    pub bytes: usize,
    /// The epoch that minted it.
    pub epoch: EpochId,
    /// The root task of its tree.
    pub root: TaskId,
    /// Its segments, the root's first; empty if the caveats are invalid.
    pub segments: Vec<Segment>,
    /// The initiator of the task tree.
    pub initiated_by: Option<Initiator>,
    /// The caveats that the broker wrote.
    pub broker_caveats: Vec<String>,
    /// The caveats that holders appended.
    pub holder_caveats: Vec<String>,
    /// The authority of the token, if it is genuine; absent if the caveats are invalid.
    pub envelope: Option<Envelope>,
    /// Why every broker refuses it, regardless of its signature.
    pub refused: Option<String>,
}

/// Decodes a token without verifying it.
///
/// # Errors
/// [`TokenError`] if the text's layout is not a token's. Invalid caveats are not an error: they are
/// shown, and [`Explanation::refused`] gives the reason.
pub fn explain(text: &str) -> Result<Explanation, TokenError> {
    let token = Token::from_text(text)?;
    let mut caveats = token
        .caveats()
        .map(|caveat| String::from_utf8_lossy(caveat).into_owned());
    let broker_caveats = caveats.by_ref().take(token.broker_caveats()).collect();
    let holder_caveats = caveats.collect();
    let (segments, initiated_by, envelope, refused) = match reduce(&token) {
        Ok(reduced) => (
            reduced.segments,
            reduced.initiated_by,
            Some(reduced.envelope),
            None,
        ),
        Err(error) => (Vec::new(), None, None, Some(error.to_string())),
    };
    Ok(Explanation {
        verified: false,
        digest: token.digest(),
        bytes: token.len(),
        epoch: token.epoch(),
        root: token.root(),
        segments,
        initiated_by,
        broker_caveats,
        holder_caveats,
        envelope,
        refused,
    })
}
