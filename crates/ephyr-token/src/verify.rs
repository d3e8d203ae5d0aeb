//! From unverified to verified: the one place where that happens.

use ephyr_names::{AgentName, Digest, EpochId, TaskId, Timestamp};

use crate::error::TokenError;
use crate::keys::{HolderKey, Initiator, RootKey};
use crate::reduce::{Reduced, reduce};
use crate::segment::Segment;
use crate::wire::Token;
use crate::{Envelope, MAX_DEPTH};

/// A token that somebody presents. It says which key would verify it, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedToken(Token);

impl UnverifiedToken {
    /// Reads the text form.
    ///
    /// # Errors
    /// As [`Token::from_text`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        Token::from_text(text).map(Self)
    }

    /// The epoch that it claims: whose secret gives the root key.
    #[must_use]
    pub const fn epoch(&self) -> EpochId {
        self.0.epoch()
    }

    /// The root task that it claims: the root key's name.
    #[must_use]
    pub const fn root(&self) -> TaskId {
        self.0.root()
    }

    /// How many caveats it gives to the broker.
    #[must_use]
    pub const fn broker_caveats(&self) -> usize {
        self.0.broker_caveats()
    }

    /// Checks the HMAC chain, then reads and reduces the caveats. Needs no clock: ask
    /// [`VerifiedToken::check_expiry`] next.
    ///
    /// # Errors
    /// [`TokenError::Signature`] before anything is said about the caveats; then whatever is wrong
    /// with them.
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

/// A token that the broker made, as holders narrowed it. It stands for its last segment.
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
    /// The task that it stands for.
    #[must_use]
    pub const fn task(&self) -> TaskId {
        self.last.task
    }

    /// The agent that it stands for.
    #[must_use]
    pub const fn agent(&self) -> &AgentName {
        &self.last.agent
    }

    /// The key that it is bound to, if any.
    #[must_use]
    pub const fn holder(&self) -> Option<&HolderKey> {
        self.last.holder.as_ref()
    }

    /// The root of its task tree.
    #[must_use]
    pub const fn root(&self) -> TaskId {
        self.token.root()
    }

    /// Its epoch.
    #[must_use]
    pub const fn epoch(&self) -> EpochId {
        self.token.epoch()
    }

    /// Its segments, the root's first; never empty.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Its tasks, the root first.
    pub fn lineage(&self) -> impl ExactSizeIterator<Item = TaskId> + '_ {
        self.segments.iter().map(|segment| segment.task)
    }

    /// The agents of its tasks, the root's first. All their policies must allow an act.
    pub fn agents(&self) -> impl ExactSizeIterator<Item = &AgentName> + '_ {
        self.segments.iter().map(|segment| &segment.agent)
    }

    /// Generations below the root, 0 to [`MAX_DEPTH`].
    #[must_use]
    pub fn depth(&self) -> u8 {
        u8::try_from(self.segments.len() - 1).unwrap_or(MAX_DEPTH)
    }

    /// Who started the tree, in the broker's words.
    #[must_use]
    pub const fn initiated_by(&self) -> Option<&Initiator> {
        self.initiated_by.as_ref()
    }

    /// Everything that it allows.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whether a holder has appended caveats.
    #[must_use]
    pub fn is_narrowed(&self) -> bool {
        self.token.caveats().count() > self.token.broker_caveats()
    }

    /// SHA-256 of the token's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.token.digest()
    }

    /// The token itself.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// Checks that its time is not over.
    ///
    /// # Errors
    /// [`TokenError::Expired`] from the very millisecond of its expiry on.
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), TokenError> {
        let expires = self.envelope.expires;
        if now < expires {
            Ok(())
        } else {
            Err(TokenError::Expired { expires })
        }
    }
}
