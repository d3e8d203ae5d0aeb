//! Renders a target host's accounts and files from the policy.

use ephyr_names::{Principal, TargetName};
use ephyr_policy::{Policy, Role, Sudo, Target};
use ipnet::IpNet;

use crate::authority::{AuthorityName, TrustedCaKeys};
use crate::host::{HostAccount, HostFile, Paths, Rights, STATE, SudoRule, TargetHost};
use crate::{sshd, sudoers};

/// Returns the accounts and files for the target of this name; `None` if the policy has no such target.
///
/// `ca` are the trusted CA keys. Without them, everything but their file is rendered.
#[must_use]
pub fn target_host(
    policy: &Policy,
    name: &TargetName,
    authority: &AuthorityName,
    ca: Option<&TrustedCaKeys>,
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
    authority: &AuthorityName,
    accounts: &[HostAccount],
    paths: &Paths,
    ca: Option<&TrustedCaKeys>,
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
    // sshd rejects every key while it cannot read the list, so the file must exist from the start.
    let nothing = "# The keys and certificates that sshd refuses: none so far.\n";
    files.push(HostFile {
        keep: true,
        ..file(paths.revoked.clone(), nothing.to_owned())
    });
    files
}

#[cfg(test)]
mod tests;
