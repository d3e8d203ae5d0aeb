//! Verification: the only conversion of an [`UnverifiedToken`] to a [`VerifiedToken`].

use ephyr_names::{AgentName, Digest, EpochId, TaskId, Timestamp};

use crate::error::TokenError;
use crate::keys::{HolderKey, Initiator, RootKey};
use crate::reduce::{Reduced, reduce};
use crate::segment::Segment;
use crate::wire::Token;
use crate::{Envelope, MAX_DEPTH};

/// A presented token. Until it is verified, it only identifies the key that verifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedToken(Token);

impl UnverifiedToken {
    /// Parses the text form.
    ///
    /// # Errors
    /// As [`Token::from_text`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        Token::from_text(text).map(Self)
    }

    /// Returns the claimed epoch, from whose secret the root key is derived.
    #[must_use]
    pub const fn epoch(&self) -> EpochId {
        self.0.epoch()
    }

    /// Returns the claimed root task, which selects the root key.
    #[must_use]
    pub const fn root(&self) -> TaskId {
        self.0.root()
    }

    /// Returns the claimed number of broker caveats.
    #[must_use]
    pub const fn broker_caveats(&self) -> usize {
        self.0.broker_caveats()
    }

    /// Verifies the HMAC chain, then reduces the caveats. It reads no clock: call
    /// [`VerifiedToken::check_expiry`] next.
    ///
    /// # Errors
    /// [`TokenError::Signature`], which is checked before any caveat is parsed; then any fault of the
    /// caveats.
    pub fn verify(self, key: &RootKey) -> Result<VerifiedToken, TokenError> {
        if !self.0.is_signed_with(key) {
            return Err(TokenError::Signature);
        }
        let Reduced {
            segments,
            initiated_by,
            envelope,
            unstated,
        } = reduce(&self.0)?;
        let last = segments.last().cloned().ok_or(TokenError::SectionCount)?;
        Ok(VerifiedToken {
            token: self.0,
            segments,
            last,
            initiated_by,
            envelope,
            unstated,
        })
    }
}

impl From<Token> for UnverifiedToken {
    fn from(token: Token) -> Self {
        Self(token)
    }
}

/// A token minted by the broker, with the holders' caveats applied. It represents the task of its last
/// segment.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    token: Token,
    segments: Vec<Segment>,
    last: Segment,
    initiated_by: Option<Initiator>,
    envelope: Envelope,
    pub(crate) unstated: Vec<&'static str>,
}

impl VerifiedToken {
    /// Returns the token's task.
    #[must_use]
    pub const fn task(&self) -> TaskId {
        self.last.task
    }

    /// Returns the task's agent.
    #[must_use]
    pub const fn agent(&self) -> &AgentName {
        &self.last.agent
    }

    /// Returns the key that the token is bound to, if any.
    #[must_use]
    pub const fn holder(&self) -> Option<&HolderKey> {
        self.last.holder.as_ref()
    }

    /// Returns the root of the task tree.
    #[must_use]
    pub const fn root(&self) -> TaskId {
        self.token.root()
    }

    /// Returns the epoch.
    #[must_use]
    pub const fn epoch(&self) -> EpochId {
        self.token.epoch()
    }

    /// Returns the segments, the root's first; never empty.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the tasks from the root down.
    pub fn lineage(&self) -> impl ExactSizeIterator<Item = TaskId> + '_ {
        self.segments.iter().map(|segment| segment.task)
    }

    /// Returns the agents of the tasks from the root down. The policy of each must allow an action.
    pub fn agents(&self) -> impl ExactSizeIterator<Item = &AgentName> + '_ {
        self.segments.iter().map(|segment| &segment.agent)
    }

    /// Returns the number of generations below the root, 0 to [`MAX_DEPTH`].
    #[must_use]
    pub fn depth(&self) -> u8 {
        u8::try_from(self.segments.len() - 1).unwrap_or(MAX_DEPTH)
    }

    /// Returns the initiator of the task tree.
    #[must_use]
    pub const fn initiated_by(&self) -> Option<&Initiator> {
        self.initiated_by.as_ref()
    }

    /// Returns the token's authority.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Returns whether a holder has appended caveats.
    #[must_use]
    pub fn is_narrowed(&self) -> bool {
        self.token.caveats().count() > self.token.broker_caveats()
    }

    /// Returns the SHA-256 of the token's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.token.digest()
    }

    /// Returns the token itself.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// Checks that the token has not expired.
    ///
    /// # Errors
    /// [`TokenError::Expired`] from the millisecond of its expiry on.
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), TokenError> {
        let expires = self.envelope.expires;
        if now < expires {
            Ok(())
        } else {
            Err(TokenError::Expired { expires })
        }
    }
}
