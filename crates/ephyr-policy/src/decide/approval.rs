//! Step 8: human approval. Approvals are not implemented yet, so an action that requires one is refused.

use super::denial::{Denial, ReasonCode};
use super::pairing::Pairing;

/// Refuses a pairing that requires approval.
pub(super) fn check(pairing: &Pairing<'_>) -> Result<(), Denial> {
    match pairing.approval() {
        None => Ok(()),
        Some(_) => Err(unavailable(pairing)),
    }
}

fn unavailable(pairing: &Pairing<'_>) -> Denial {
    let (target, role) = (pairing.target(), pairing.role());
    let message = format!(
        "role `{}` on `{}` requires a human's approval, and approvals are not available",
        role.name, target.name
    );
    let rule = if target.auto_approve {
        match pairing.agent().ssh.on(&target.name) {
            Some(grant) if !grant.auto_approve => format!("{}.auto_approve", grant.path),
            _ => "token lineage".into(),
        }
    } else {
        format!("targets.{}.auto_approve", target.name)
    };
    Denial::new(8, ReasonCode::ApprovalUnavailable, rule, message)
}
