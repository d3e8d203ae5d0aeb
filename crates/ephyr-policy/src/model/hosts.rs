//! Targets and roles.

use std::collections::BTreeSet;

use ephyr_names::{Account, RoleName, TargetName, Ttl};
use ipnet::IpNet;

use crate::commands::CommandPolicy;

/// How an action is approved that is not approved automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// By any admin, in the dashboard or by `ephyr approve`.
    Plain,
    /// By an admin's SSH signature, which the signer verifies.
    Signed,
}

/// An SSH host.
#[derive(Debug, Clone)]
pub struct Target {
    /// The target's name.
    pub name: TargetName,
    /// The DNS name or address.
    pub host: String,
    /// The SSH port.
    pub port: u16,
    /// The VLAN; informational.
    pub vlan: Option<u16>,
    /// The roles that exist on the target.
    pub allowed_roles: BTreeSet<RoleName>,
    /// A certificate's maximum lifetime.
    pub max_ttl: Ttl,
    /// Whether grants are used without a human's approval.
    pub auto_approve: bool,
    /// How a human approves if approval is required.
    pub approval: Approval,
    /// The command that sshd runs whatever the client requests.
    pub force_command: Option<String>,
    /// The accepted host keys.
    pub host_key: HostKey,
    /// Addresses from which the broker connects, as the target sees them; empty: any.
    pub source_address: Vec<IpNet>,
    /// Free text for operators.
    pub description: String,
    /// Whether the policy enables the target.
    pub enabled: bool,
}

/// The host keys that are accepted for a target.
#[derive(Debug, Clone)]
pub enum HostKey {
    /// One of these keys (`host_key`).
    Keys(Vec<ssh_key::PublicKey>),
    /// A key with this fingerprint, `SHA256:…` (`host_key_fingerprint`).
    Fingerprint(ssh_key::Fingerprint),
    /// Any key; requires `global.host_key_strict: false`.
    Unpinned,
}

impl HostKey {
    /// Returns whether the key that a server presented is accepted.
    #[must_use]
    pub fn accepts(&self, presented: &ssh_key::PublicKey) -> bool {
        match self {
            Self::Keys(keys) => keys
                .iter()
                .any(|key| key.key_data() == presented.key_data()),
            Self::Fingerprint(pin) => presented.fingerprint(pin.algorithm()) == *pin,
            Self::Unpinned => true,
        }
    }
}

/// A Unix account on targets and its rights.
#[derive(Debug, Clone)]
pub struct Role {
    /// The role's name.
    pub name: RoleName,
    /// The Unix account.
    pub principal: Account,
    /// Free text for operators.
    pub description: String,
    /// The account's login shell.
    pub shell: String,
    /// Whether the account is a system account.
    pub system: bool,
    /// The commands that the role may run as root.
    pub sudo: Sudo,
    /// Whether the operator confirmed that the role may be equivalent to root.
    pub allow_root_equivalent: bool,
    /// Whether SSH sessions get a terminal.
    pub pty: bool,
    /// Whether certificates that are not sealed to one command are issued despite a command policy or approvals.
    pub unsealed: bool,
    /// Whether SSH sessions may forward ports.
    pub port_forwarding: bool,
    /// Whether SSH sessions may forward the SSH agent.
    pub agent_forwarding: bool,
    /// The commands that the role may run; `None`: any.
    pub commands: Option<CommandPolicy>,
}

impl Role {
    /// Returns whether the role may run this command.
    #[must_use]
    pub fn allows_command(&self, command: &str) -> bool {
        self.commands
            .as_ref()
            .is_none_or(|policy| policy.allows(command))
    }
}

/// The commands that a role may run as root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sudo {
    /// No command.
    None,
    /// Every command.
    All,
    /// These commands with exactly these arguments.
    Commands(Vec<String>),
}
