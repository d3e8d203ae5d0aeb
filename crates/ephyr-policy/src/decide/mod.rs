//! The decision path: eight steps in a fixed order, the same for every action and entry point.
//!
//! 1. The agent and each agent of its token's lineage are known, and each delegation is accepted ([`subject`]).
//! 2. The target, service or remote exists and is enabled.
//! 3. The role, method or tool is granted to every agent of the lineage, allowed on the target, service or remote,
//!    and within the token's envelope; the purpose is allowed for the role.
//! 4. The duration is clamped.
//! 5. A new certificate replaces the old one of the same agent, task, target and role ([`slots`]).
//! 6. The agent has a free slot.
//! 7. All agents together have a free slot.
//! 8. A human approved, if required ([`approval`]).
//!
//! [`authorize`] runs all steps and is the only constructor of a permit. [`evaluate`] and [`preview`] run the same
//! steps and change nothing. Steps 2 to 4 depend on the type of action: [`ssh`], [`http`], [`mcp`]. Only SSH actions
//! hold slots and require approval; steps 5 to 8 always pass for the other two.

mod approval;
mod denial;
mod http;
mod mcp;
mod pairing;
mod slots;
mod ssh;
mod subject;

use ephyr_names::Timestamp;

pub use self::denial::{Cause, Denial, ReasonCode};
pub use self::http::{HttpAction, HttpGranted, HttpPermit};
pub use self::mcp::{McpAction, McpGranted, McpPermit};
pub use self::pairing::{Pairing, Unpaired};
pub use self::slots::{CertificateKind, Ledger, LedgerEntry, SlotId};
pub use self::ssh::{
    Purpose, Reachable, ResolvedTarget, SEALED_TTL, SshAction, SshGranted, SshPermit, reachable,
};
pub use self::subject::{Authorization, LineageError, Subject};

use self::subject::Request;
use crate::model::Policy;

/// The result of [`authorize`].
#[derive(Debug)]
#[must_use = "a decision must be enforced"]
pub enum Decision<P> {
    /// The action is allowed, with this proof.
    Permit(P),
    /// The action is refused.
    Denied(Denial),
}

/// An action that can be requested: [`SshAction`], [`HttpAction`] or [`McpAction`]. Sealed.
pub trait Action: steps::Steps {}

/// An action of any type, for registries of running actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyAction {
    /// A login to a target.
    Ssh(SshAction),
    /// A request to an HTTP service.
    Http(HttpAction),
    /// A tool call on a remote MCP server.
    Mcp(McpAction),
}

/// The steps that differ between the types of action. Public only as a bound of [`Action`].
mod steps {
    use super::{Authorization, Denial, Ledger, Request, Timestamp};

    pub trait Steps {
        /// The result of steps 2 to 4.
        type Granted<'p>;
        /// The free slot that steps 5 to 7 found, taken after step 8.
        type FreeSlot;
        /// The proof that the action was allowed.
        type Permit;

        /// Steps 2 to 4.
        fn grant<'p>(&self, request: &Request<'p, '_>) -> Result<Self::Granted<'p>, Denial>;

        /// Steps 5 to 7.
        fn find_slot(
            &self,
            granted: &Self::Granted<'_>,
            request: &Request<'_, '_>,
            ledger: &Ledger,
        ) -> Result<Self::FreeSlot, Denial>;

        /// Step 8.
        fn approve(granted: &Self::Granted<'_>) -> Result<(), Denial>;

        /// Takes the slot that [`Steps::find_slot`] found and creates the permit.
        fn permit(
            &self,
            granted: Self::Granted<'_>,
            authorization: Authorization,
            ledger: &mut Ledger,
            free: Self::FreeSlot,
            now: Timestamp,
        ) -> Self::Permit;
    }
}

/// Runs steps 1 to 4 and 8. Does not consider other certificates and changes nothing.
///
/// # Errors
/// Returns the [`Denial`] of the first step that refuses.
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

/// Runs all eight steps as [`authorize`] would and reserves nothing (`dry_run`).
///
/// # Errors
/// Returns the [`Denial`] of the first step that refuses.
pub fn preview<'p, A: Action>(
    policy: &'p Policy,
    ledger: &Ledger,
    subject: &Subject,
    action: &A,
    now: Timestamp,
) -> Result<A::Granted<'p>, Denial> {
    let request = Request::new(policy, subject, now)?;
    let granted = action.grant(&request)?;
    action.find_slot(&granted, &request, ledger)?;
    A::approve(&granted)?;
    Ok(granted)
}

/// Runs all eight steps. The permit of an SSH action holds a slot, which is found and taken in this one call.
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
    let free = action.find_slot(&granted, &request, ledger)?;
    // The slot is taken only after the last step that can refuse, so a refusal takes none.
    A::approve(&granted)?;
    Ok(action.permit(granted, request.authorization(), ledger, free, now))
}

impl AnyAction {
    /// Runs [`evaluate`] for an action of any type.
    ///
    /// # Errors
    /// Returns the [`Denial`] of the first step that refuses.
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
