//! Targets, and the roles on them.

use std::collections::BTreeSet;

use ephyr_names::{Account, RoleName, TargetName, Ttl};
use ipnet::IpNet;

use crate::commands::CommandPolicy;

/// Who approves an action that is not approved automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// Any admin, in the dashboard or by `ephyr approve`.
    Plain,
    /// An admin with an SSH signature that the signer verifies.
    Signed,
}

/// An SSH host.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name.
    pub name: TargetName,
    /// Its DNS name or address.
    pub host: String,
    /// Its SSH port.
    pub port: u16,
    /// Its VLAN, for people.
    pub vlan: Option<u16>,
    /// The roles that exist on it.
    pub allowed_roles: BTreeSet<RoleName>,
    /// A certificate's longest life on it.
    pub max_ttl: Ttl,
    /// Whether grants are used without a human's approval.
    pub auto_approve: bool,
    /// How a human approves where one must.
    pub approval: Approval,
    /// The command that sshd runs whatever is asked for.
    pub force_command: Option<String>,
    /// What its host key must be.
    pub host_key: HostKey,
    /// Addresses from which the broker connects, as the target sees them; empty: any.
    pub source_address: Vec<IpNet>,
    /// For people.
    pub description: String,
    /// Whether it is switched on in the policy.
    pub enabled: bool,
}

/// What a target's host key must be.
#[derive(Debug, Clone)]
pub enum HostKey {
    /// One of these keys (`host_key`).
    Keys(Vec<ssh_key::PublicKey>),
    /// A key with this fingerprint, `SHA256:…` (`host_key_fingerprint`).
    Fingerprint(ssh_key::Fingerprint),
    /// Any: only where `global.host_key_strict` is `false`.
    Unpinned,
}

impl HostKey {
    /// Whether a key that a server showed is the right one.
    #[must_use]
    pub fn accepts(&self, shown: &ssh_key::PublicKey) -> bool {
        match self {
            Self::Keys(keys) => keys.iter().any(|key| key.key_data() == shown.key_data()),
            Self::Fingerprint(pin) => shown.fingerprint(pin.algorithm()) == *pin,
            Self::Unpinned => true,
        }
    }
}

/// What an agent is on a target: a Unix account and its rights.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// The Unix account.
    pub principal: Account,
    /// For people.
    pub description: String,
    /// The account's login shell.
    pub shell: String,
    /// Whether it is a system account.
    pub system: bool,
    /// What it may run as root.
    pub sudo: Sudo,
    /// Whether the operator knows that the role is as good as root.
    pub allow_root_equivalent: bool,
    /// Whether sessions get a terminal.
    pub pty: bool,
    /// Whether certificates without a fixed command are issued in spite of a command policy or approvals.
    pub unsealed: bool,
    /// Whether sessions may forward ports.
    pub port_forwarding: bool,
    /// Whether sessions may forward the SSH agent.
    pub agent_forwarding: bool,
    /// Which commands it may run; `None`: any.
    pub commands: Option<CommandPolicy>,
}

impl Role {
    /// Whether the role may run this command.
    #[must_use]
    pub fn allows_command(&self, command: &str) -> bool {
        self.commands
            .as_ref()
            .is_none_or(|policy| policy.allows(command))
    }
}

/// What a role may run as root on its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sudo {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// These commands, with exactly these arguments.
    Commands(Vec<String>),
}
