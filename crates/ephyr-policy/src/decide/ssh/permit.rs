//! The proof that a login was allowed. Connecting to a target requires one.

use std::sync::Arc;

use ephyr_names::{Account, RoleName, TargetName, Ttl};

use super::{Purpose, SshGranted};
use crate::decide::slots::{LedgerEntry, SlotId};
use crate::decide::subject::Authorization;
use crate::model::{HostKey, Role, Target};

/// The proof that one login was allowed, with its slot in the ledger. Only [`authorize`](crate::authorize) creates
/// it, and it cannot be copied.
#[derive(Debug)]
#[must_use = "a permit holds a slot: use it, then confirm or abandon the slot in the ledger"]
pub struct SshPermit {
    authorization: Authorization,
    target: ResolvedTarget,
    purpose: Purpose,
    ttl: Ttl,
    slot: SlotId,
    replaced: Vec<LedgerEntry>,
}

impl SshPermit {
    pub(super) fn new(
        authorization: Authorization,
        granted: &SshGranted<'_>,
        purpose: Purpose,
        (slot, replaced): (SlotId, Vec<LedgerEntry>),
    ) -> Self {
        Self {
            authorization,
            target: ResolvedTarget {
                target: Arc::clone(granted.pairing.target),
                role: Arc::clone(granted.pairing.role),
            },
            purpose,
            ttl: granted.ttl,
            slot,
            replaced,
        }
    }

    /// Returns the agent, policy and time of the decision.
    #[must_use]
    pub fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// Returns the target to connect to and the account to log in as.
    #[must_use]
    pub fn target(&self) -> &ResolvedTarget {
        &self.target
    }

    /// Returns the granted role.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.target.role
    }

    /// Returns the purpose of the login.
    #[must_use]
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// Returns the maximum lifetime of the certificate.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// Returns the permit's slot in the ledger.
    #[must_use]
    pub fn slot(&self) -> SlotId {
        self.slot
    }

    /// Returns the certificates that this one replaces. Once the new certificate is issued, connections opened with
    /// them must be closed, because their slots no longer count.
    #[must_use]
    pub fn replaced(&self) -> &[LedgerEntry] {
        &self.replaced
    }
}

/// A target and a role on it.
#[derive(Debug, Clone)]
pub struct ResolvedTarget {
    target: Arc<Target>,
    role: Arc<Role>,
}

impl ResolvedTarget {
    /// Returns the target's name.
    #[must_use]
    pub fn name(&self) -> &TargetName {
        &self.target.name
    }

    /// Returns the target's DNS name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.target.host
    }

    /// Returns the target's SSH port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.target.port
    }

    /// Returns the accepted host keys.
    #[must_use]
    pub fn host_key(&self) -> &HostKey {
        &self.target.host_key
    }

    /// Returns the role's name.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role.name
    }

    /// Returns the Unix account to log in as.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.role.principal
    }

    /// Returns the target's settings in the policy.
    #[must_use]
    pub fn policy(&self) -> &Target {
        &self.target
    }
}
