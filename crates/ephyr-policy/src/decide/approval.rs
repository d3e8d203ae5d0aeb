//! Step 8: whether a human must approve. Approvals cannot be given yet, so an action that needs one is refused.

use super::denial::{Denial, ReasonCode};
use super::ssh::Pairing;

/// Refuses a pairing that needs approval.
pub(super) fn check(pairing: &Pairing<'_>) -> Result<(), Denial> {
    match pairing.approval() {
        None => Ok(()),
        Some(_) => Err(unavailable(pairing)),
    }
}

fn unavailable(pairing: &Pairing<'_>) -> Denial {
    let (target, role) = (pairing.target(), pairing.role());
    let message = format!(
        "role `{}` on `{}` needs a human's approval, and approvals cannot be asked for",
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
