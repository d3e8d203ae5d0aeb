//! Resolves the text of a task token to its live task. A valid MAC is not enough: the task must be known, with the
//! same holder, and neither it nor a task above it may be revoked.

use ephyr_names::{TaskId, Timestamp};
use ephyr_token::{TokenError, UnverifiedToken, VerifiedToken};

use crate::caller::Standing;
use crate::state::State;

/// Why a task token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// The token does not verify or has expired.
    #[error(transparent)]
    Invalid(#[from] TokenError),
    /// The token's epoch is unknown.
    #[error("the token's epoch has ended; create a new task")]
    EpochOver,
    /// The task is unknown.
    #[error("the token's task has ended; create a new one")]
    TaskUnknown,
    /// The task or one above it was revoked.
    #[error("task {task} was revoked at {at}; create a new one")]
    TaskRevoked {
        /// The revoked task.
        task: TaskId,
        /// The time of the revocation.
        at: Timestamp,
    },
    /// The task was not bound to a key before this deadline.
    #[error("the task was not bound to a key before {0} and has ended; create a new one")]
    BindDeadlineOver(Timestamp),
    /// The token is bound to another key than its task.
    #[error("the token is not bound to its task's key")]
    HolderMismatch,
}

impl TokenRefusal {
    /// Returns the reason code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(error) => error.code(),
            Self::EpochOver => "epoch_over",
            Self::TaskUnknown => "task_unknown",
            Self::TaskRevoked { .. } => "task_revoked",
            Self::BindDeadlineOver(_) => "bind_deadline_over",
            Self::HolderMismatch => "holder_mismatch",
        }
    }

    /// Returns whether the token may be a guess. An expired token with a valid MAC was issued once, so it is
    /// not a guess.
    #[must_use]
    pub fn is_guess(&self) -> bool {
        match self {
            Self::Invalid(error) => !matches!(error, TokenError::Expired { .. }),
            Self::EpochOver | Self::HolderMismatch => true,
            Self::TaskUnknown | Self::TaskRevoked { .. } | Self::BindDeadlineOver(_) => false,
        }
    }
}

/// Verifies a text as the token of a live task.
///
/// # Errors
/// [`TokenRefusal`]. An expired task is dropped.
pub fn verify(
    state: &State,
    text: &str,
    now: Timestamp,
) -> Result<(VerifiedToken, Standing), TokenRefusal> {
    let token = UnverifiedToken::parse(text)?;
    let epoch = state.epoch(token.epoch()).ok_or(TokenRefusal::EpochOver)?;
    // The MAC is verified before any claim of the token is used.
    let key = epoch.root_key(token.root());
    let token = token.verify(&key)?;
    if let Err(error) = token.check_expiry(now) {
        state.end(token.task(), now);
        return Err(error.into());
    }
    let record = state.task(token.task()).ok_or(TokenRefusal::TaskUnknown)?;
    let standing = match (&record.holder, token.holder()) {
        (Some(own), Some(shown)) if own == shown => Standing::Full,
        (Some(_), None) => Standing::Superseded,
        (None, None) => match record.bind_deadline {
            None => Standing::Full,
            Some(deadline) if now < deadline => Standing::Locked,
            Some(deadline) => {
                state.end(token.task(), now);
                return Err(TokenRefusal::BindDeadlineOver(deadline));
            }
        },
        _ => return Err(TokenRefusal::HolderMismatch),
    };
    if let Some(revoked) = state.revoked(&record.lineage) {
        return Err(TokenRefusal::TaskRevoked {
            task: revoked.task,
            at: revoked.at,
        });
    }
    Ok((token, standing))
}
