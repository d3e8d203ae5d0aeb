//! What a target host needs: accounts, and the files that sshd and sudo read.

use ephyr_names::{Account, Principal, RoleName, TargetName};
use ipnet::IpNet;
use serde::Serialize;

use super::authority::{Authority, CaKeys};
use super::{sshd, sudoers};
use crate::model::{Policy, Role, Sudo, Target};

/// Below this directory lie the homes, and the list of revoked keys.
pub(super) const STATE: &str = "/var/lib/ephyr-target";

/// What a target host needs for one appliance.
#[derive(Debug, Clone, Serialize)]
pub struct TargetHost {
    /// The target's name in the policy.
    pub target: TargetName,
    /// The appliance's name on the host.
    #[serde(serialize_with = "as_text")]
    pub authority: Authority,
    /// An account for each role that the target allows, by name.
    pub accounts: Vec<HostAccount>,
    /// The files, by path.
    pub files: Vec<HostFile>,
    /// The port of its sshd, as the appliance sees it.
    #[serde(skip)]
    pub(super) port: u16,
    /// The appliance's source addresses, as the target sees them; empty if the policy names none.
    #[serde(skip)]
    pub(super) sources: Vec<IpNet>,
}

/// The account of a role.
#[derive(Debug, Clone, Serialize)]
pub struct HostAccount {
    /// Its name.
    pub name: Account,
    /// The role that it stands for.
    pub role: RoleName,
    /// Its login shell.
    pub shell: String,
    /// Its home, which is root's.
    pub home: String,
    /// Whether its user id is from the range of system accounts.
    pub system: bool,
    /// What a certificate must name to log in to it.
    pub principals: Vec<String>,
    /// What it may run as root; `None`: nothing.
    pub sudo: Option<SudoRule>,
    #[serde(skip)]
    pub(super) rights: Rights,
}

/// What sshd leaves open for the account beyond running commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) pty: bool,
    pub(super) port_forwarding: bool,
    pub(super) agent_forwarding: bool,
}

/// What an account may run as root.
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
    /// What is in it.
    pub content: String,
    /// Whether it is only made where it is missing, since the host changes it later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep: bool,
}

/// Where the parts of an appliance lie on a target.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) own: String,
    pub(super) snippet: String,
    pub(super) sudoers: String,
    pub(super) revoked: String,
}

/// What the target of this name needs; `None` where the policy has no such target.
///
/// `ca`: the keys whose certificates are accepted. Without them everything but their file is made.
#[must_use]
pub fn target_host(
    policy: &Policy,
    name: &TargetName,
    authority: &Authority,
    ca: Option<&CaKeys>,
) -> Option<TargetHost> {
    let target = policy.target(name)?;
    let mut accounts: Vec<HostAccount> = target
        .allowed_roles
        .iter()
        .filter_map(|role| policy.role(role))
        .map(|role| account(target, role))
        .collect();
    accounts.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    let paths = Paths::of(authority);
    let files = files(target, authority, &accounts, &paths, ca);
    Some(TargetHost {
        target: target.name.clone(),
        authority: authority.clone(),
        accounts,
        files,
        port: target.port,
        sources: target.source_address.iter().map(IpNet::trunc).collect(),
    })
}

impl HostAccount {
    /// Whether it is the operator's own `root`, which Ephyr neither makes nor closes.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.name.as_str() == "root"
    }
}

impl Paths {
    pub(super) fn of(authority: &Authority) -> Self {
        Self {
            own: format!("/etc/ssh/ephyr/{authority}"),
            snippet: format!("/etc/ssh/sshd_config.d/50-ephyr-{authority}.conf"),
            sudoers: format!("/etc/sudoers.d/ephyr-{authority}"),
            // An account's name has no dot, so no home is in its way.
            revoked: format!("{STATE}/{authority}.revoked_keys"),
        }
    }
}

fn account(target: &Target, role: &Role) -> HostAccount {
    let name = role.principal.clone();
    let principal = Principal {
        target: target.name.clone(),
        role: role.name.clone(),
    };
    let home = if name.as_str() == "root" {
        "/root".to_owned()
    } else {
        format!("{STATE}/{name}")
    };
    HostAccount {
        home,
        name,
        role: role.name.clone(),
        shell: role.shell.clone(),
        system: role.system,
        principals: vec![principal.to_string()],
        sudo: match &role.sudo {
            Sudo::None => None,
            Sudo::All => Some(SudoRule::Everything(true)),
            Sudo::Commands(commands) if commands.is_empty() => None,
            Sudo::Commands(commands) => Some(SudoRule::Commands(commands.clone())),
        },
        rights: Rights {
            pty: role.pty,
            port_forwarding: role.port_forwarding,
            agent_forwarding: role.agent_forwarding,
        },
    }
}

fn files(
    target: &Target,
    authority: &Authority,
    accounts: &[HostAccount],
    paths: &Paths,
    ca: Option<&CaKeys>,
) -> Vec<HostFile> {
    let file = |path: String, content: String| HostFile {
        path,
        mode: "0644",
        content,
        keep: false,
    };
    let header = format!(
        "# Target {} of the appliance {authority}. Made by `ephyr target render`: change the policy, not this file.\n",
        target.name
    );
    let mut files = Vec::new();
    if let Some(ca) = ca {
        files.push(file(format!("{}/ca.pub", paths.own), ca.lines()));
    }
    for account in accounts {
        let path = format!("{}/principals/{}", paths.own, account.name);
        files.push(file(path, account.principals.join("\n") + "\n"));
    }
    files.push(file(
        paths.snippet.clone(),
        sshd::snippet(&header, accounts, paths),
    ));
    if let Some(rules) = sudoers::rules(&header, accounts) {
        files.push(HostFile {
            mode: "0440",
            ..file(paths.sudoers.clone(), rules)
        });
    }
    // sshd refuses every key while it cannot read the list, so there is one from the beginning.
    let nothing = "# The keys and certificates that sshd refuses: none so far.\n";
    files.push(HostFile {
        keep: true,
        ..file(paths.revoked.clone(), nothing.to_owned())
    });
    files
}

fn as_text<S: serde::Serializer>(value: &Authority, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.as_str())
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
