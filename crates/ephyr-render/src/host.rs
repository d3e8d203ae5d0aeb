//! The rendered form of a target host: its accounts, and the files that sshd and sudo read.

use ephyr_names::{Account, RoleName, TargetName};
use ipnet::IpNet;
use serde::Serialize;

use crate::authority::AuthorityName;

/// The directory with the homes of role accounts and the lists of revoked keys.
pub(crate) const STATE: &str = "/var/lib/ephyr-target";

/// A target host's accounts and files for one appliance.
#[derive(Debug, Clone, Serialize)]
pub struct TargetHost {
    /// The target's name in the policy.
    pub target: TargetName,
    /// The appliance's name on the host.
    #[serde(serialize_with = "as_text")]
    pub authority: AuthorityName,
    /// One account for each role that the target allows, sorted by name.
    pub accounts: Vec<HostAccount>,
    /// The files, with absolute paths.
    pub files: Vec<HostFile>,
    /// The port of its sshd, as the appliance sees it.
    #[serde(skip)]
    pub(crate) port: u16,
    /// The appliance's source addresses, as the target sees them; empty if the policy lists none.
    #[serde(skip)]
    pub(crate) sources: Vec<IpNet>,
}

/// The account of a role.
#[derive(Debug, Clone, Serialize)]
pub struct HostAccount {
    /// Its name.
    pub name: Account,
    /// The role that uses it.
    pub role: RoleName,
    /// Its login shell.
    pub shell: String,
    /// Its home directory, owned by root.
    pub home: String,
    /// Whether its UID is from the range of system accounts.
    pub system: bool,
    /// The certificate principals that may log in to it.
    pub principals: Vec<String>,
    /// The commands that it may run as root; `None`: none.
    pub sudo: Option<SudoRule>,
    #[serde(skip)]
    pub(crate) rights: Rights,
}

/// The rights that sshd grants the account beyond running commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) pty: bool,
    pub(crate) port_forwarding: bool,
    pub(crate) agent_forwarding: bool,
}

/// The commands that an account may run as root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SudoRule {
    /// Everything (`true` in JSON).
    Everything(bool),
    /// These commands with exactly these arguments.
    Commands(Vec<String>),
}

/// A file of the host, owned by root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostFile {
    /// Its absolute path.
    pub path: String,
    /// Its mode in octal, such as `0644`.
    pub mode: &'static str,
    /// Its content.
    pub content: String,
    /// Whether an existing file is kept, because the host changes it later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep: bool,
}

/// The paths of an appliance's files on a target.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) own: String,
    pub(crate) snippet: String,
    pub(crate) sudoers: String,
    pub(crate) revoked: String,
}

impl HostAccount {
    /// Returns whether it is `root`, which Ephyr neither creates nor restricts.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.name.as_str() == "root"
    }
}

impl Paths {
    pub(crate) fn of(authority: &AuthorityName) -> Self {
        Self {
            own: format!("/etc/ssh/ephyr/{authority}"),
            snippet: format!("/etc/ssh/sshd_config.d/50-ephyr-{authority}.conf"),
            sudoers: format!("/etc/sudoers.d/ephyr-{authority}"),
            // Account names contain no dot, so this path is never a home directory.
            revoked: format!("{STATE}/{authority}.revoked_keys"),
        }
    }
}

fn as_text<S: serde::Serializer>(value: &AuthorityName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.as_str())
}
