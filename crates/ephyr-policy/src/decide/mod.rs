//! The decision path: eight steps, in order, the same for every action and every way in.
//!
//! 1. The agent, and each agent of its token's lineage, is known, and each delegation accepted ([`subject`]).
//! 2. The target, service or remote exists and is enabled.
//! 3. The role, method or tool is granted: policy of every agent in the lineage ∩ what the policy allows there ∩
//!    the token's envelope; and the purpose fits the role.
//! 4. The duration is clamped.
//! 5. A new certificate replaces the old one of the same agent, task, target and role ([`slots`]).
//! 6. The agent has a free slot.
//! 7. There is a free slot at all.
//! 8. A human approved, where one must ([`approval`]).
//!
//! [`authorize`] runs all of them and is the only maker of a permit. [`evaluate`] and [`preview`] answer the same
//! question and change nothing. Steps 2 to 4 depend on the kind of action: [`ssh`], [`http`], [`mcp`]. Only SSH
//! actions hold slots and need approval; the other two pass steps 5 to 8.

mod approval;
mod denial;
mod http;
mod mcp;
mod slots;
mod ssh;
mod subject;

use ephyr_names::Timestamp;

pub use self::denial::{Cause, Denial, ReasonCode};
pub use self::http::{HttpAction, HttpGranted, HttpPermit};
pub use self::mcp::{McpAction, McpGranted, McpPermit};
pub use self::slots::{CertificateKind, Ledger, LedgerEntry, SlotId};
pub use self::ssh::{
    Pairing, Purpose, Reachable, ResolvedTarget, SEALED_TTL, SshAction, SshGranted, SshPermit,
    Unpaired, reachable,
};
pub use self::subject::{Authorization, LineageError, Subject};

use self::subject::Request;
use crate::model::Policy;

/// The answer to a request.
#[derive(Debug)]
#[must_use = "an unread decision decides nothing"]
pub enum Decision<P> {
    /// The action may go ahead, with this proof.
    Permit(P),
    /// The action is refused.
    Denied(Denial),
}

/// An action that can be asked for: [`SshAction`], [`HttpAction`] or [`McpAction`]. Sealed.
pub trait Action: steps::Steps {}

/// An action of any kind, for registries of what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyAction {
    /// A login to a target.
    Ssh(SshAction),
    /// A request to an HTTP service.
    Http(HttpAction),
    /// A tool call on a remote MCP server.
    Mcp(McpAction),
}

/// What differs between the kinds of action. Public only as a bound of [`Action`].
mod steps {
    use super::{Authorization, Denial, Ledger, Request, Timestamp};

    pub trait Steps {
        /// The action with what the policy says about it.
        type Granted<'p>;
        /// What steps 5 to 7 found, to be taken after step 8.
        type Room;
        /// The proof that the action was allowed.
        type Permit;

        /// Steps 2 to 4.
        fn grant<'p>(&self, request: &Request<'p, '_>) -> Result<Self::Granted<'p>, Denial>;

        /// Steps 5 to 7.
        fn room(
            &self,
            granted: &Self::Granted<'_>,
            request: &Request<'_, '_>,
            ledger: &Ledger,
        ) -> Result<Self::Room, Denial>;

        /// Step 8.
        fn approve(granted: &Self::Granted<'_>) -> Result<(), Denial>;

        /// Takes what [`Steps::room`] found and makes the permit.
        fn permit(
            &self,
            granted: Self::Granted<'_>,
            authorization: Authorization,
            ledger: &mut Ledger,
            room: Self::Room,
            now: Timestamp,
        ) -> Self::Permit;
    }
}

/// Steps 1 to 4, and whether step 8 could ever pass. Reads no other certificates and changes nothing.
///
/// # Errors
/// The [`Denial`] of the first step that refuses.
pub fn evaluate<'p, A: Action>(
    policy: &'p Policy,
    subject: &Subject,
    action: &A,
    now: Timestamp,
) -> Result<A::Granted<'p>, Denial> {
    let granted = action.grant(&Request::new(policy, subject, now)?)?;
    A::approve(&granted)?;
    Ok(granted)
}

/// All eight steps, as [`authorize`] would run them now; nothing is reserved (`dry_run`).
///
/// # Errors
/// The [`Denial`] of the first step that refuses.
pub fn preview<'p, A: Action>(
    policy: &'p Policy,
    ledger: &Ledger,
    subject: &Subject,
    action: &A,
    now: Timestamp,
) -> Result<A::Granted<'p>, Denial> {
    let request = Request::new(policy, subject, now)?;
    let granted = action.grant(&request)?;
    action.room(&granted, &request, ledger)?;
    A::approve(&granted)?;
    Ok(granted)
}

/// All eight steps. The permit of an SSH action holds a slot from here on, taken in the same call that saw it free.
pub fn authorize<A: Action>(
    policy: &Policy,
    ledger: &mut Ledger,
    subject: &Subject,
    action: &A,
    now: Timestamp,
) -> Decision<A::Permit> {
    match reserve(policy, ledger, subject, action, now) {
        Ok(permit) => Decision::Permit(permit),
        Err(denial) => Decision::Denied(denial),
    }
}

fn reserve<A: Action>(
    policy: &Policy,
    ledger: &mut Ledger,
    subject: &Subject,
    action: &A,
    now: Timestamp,
) -> Result<A::Permit, Denial> {
    let request = Request::new(policy, subject, now)?;
    let granted = action.grant(&request)?;
    let room = action.room(&granted, &request, ledger)?;
    // Approval is the last step that can refuse, so that a refusal takes no slot.
    A::approve(&granted)?;
    Ok(action.permit(granted, request.authorization(), ledger, room, now))
}

impl AnyAction {
    /// As [`evaluate`], for an action of any kind.
    ///
    /// # Errors
    /// The [`Denial`] of the first step that refuses.
    pub fn evaluate(
        &self,
        policy: &Policy,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<(), Denial> {
        match self {
            Self::Ssh(action) => evaluate(policy, subject, action, now).map(drop),
            Self::Http(action) => evaluate(policy, subject, action, now).map(drop),
            Self::Mcp(action) => evaluate(policy, subject, action, now).map(drop),
        }
    }
}

impl From<SshAction> for AnyAction {
    fn from(action: SshAction) -> Self {
        Self::Ssh(action)
    }
}

impl From<HttpAction> for AnyAction {
    fn from(action: HttpAction) -> Self {
        Self::Http(action)
    }
}

impl From<McpAction> for AnyAction {
    fn from(action: McpAction) -> Self {
        Self::Mcp(action)
    }
}
