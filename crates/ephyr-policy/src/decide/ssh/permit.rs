//! The proof that a login was allowed. Connecting to a target requires one.

use std::sync::Arc;

use ephyr_names::{Account, RoleName, TargetName, Ttl};

use super::{Purpose, SshGranted};
use crate::decide::slots::{LedgerEntry, SlotId};
use crate::decide::subject::Authorization;
use crate::model::{HostKey, Role, Target};

/// A login that was allowed, with its slot in the ledger. Only [`authorize`](crate::authorize) makes one, each
/// stands for one login, and it cannot be copied.
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

    /// Returns for whom the login was allowed, by which policy and when.
    #[must_use]
    pub fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// Returns where to connect, and as which account.
    #[must_use]
    pub fn target(&self) -> &ResolvedTarget {
        &self.target
    }

    /// Returns the role that was granted.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.target.role
    }

    /// Returns the purpose of the login.
    #[must_use]
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// Returns the longest life of the certificate.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// Returns the permit's slot in the ledger.
    #[must_use]
    pub fn slot(&self) -> SlotId {
        self.slot
    }

    /// Returns the certificates that this one replaces. When the new one is out, connections opened by them must
    /// be ended, since their slots are no longer counted.
    #[must_use]
    pub fn replaced(&self) -> &[LedgerEntry] {
        &self.replaced
    }
}

/// A target together with the role on it.
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

    /// Returns its DNS name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.target.host
    }

    /// Returns its SSH port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.target.port
    }

    /// Returns the host key that it must show.
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

    /// Returns everything that the policy says about the target.
    #[must_use]
    pub fn policy(&self) -> &Target {
        &self.target
    }
}
