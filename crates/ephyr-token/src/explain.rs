//! What a token says, for people: read without any key, and so without any proof.

use ephyr_names::{Digest, EpochId, TaskId};
use serde::Serialize;

use crate::Envelope;
use crate::error::TokenError;
use crate::keys::Initiator;
use crate::reduce::reduce;
use crate::segment::Segment;
use crate::wire::Token;

/// What an **unverified** token says. Anybody can write such a thing: nothing may be decided by it.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Always false: only the broker can tell whether a token is genuine.
    pub verified: bool,
    /// SHA-256 of the token's bytes, as audit records name it.
    pub digest: Digest,
    /// Length in bytes.
    pub bytes: usize,
    /// The epoch that made it.
    pub epoch: EpochId,
    /// The root task of its tree.
    pub root: TaskId,
    /// Its tasks, the root's first; empty if the caveats cannot be read.
    pub segments: Vec<Segment>,
    /// Who started the tree.
    pub initiated_by: Option<Initiator>,
    /// The caveats that the broker wrote.
    pub broker_caveats: Vec<String>,
    /// The caveats that holders appended.
    pub holder_caveats: Vec<String>,
    /// What is left of authority, if the token is genuine; absent if the caveats cannot be read.
    pub envelope: Option<Envelope>,
    /// Why no broker would accept it, whatever its signature.
    pub refused: Option<String>,
}

/// Takes a token apart.
///
/// # Errors
/// [`TokenError`] when the text is no token at all. Unreadable caveats are no error here: they are
/// shown, and [`Explanation::refused`] says why a broker refuses them.
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
