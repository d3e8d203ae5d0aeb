//! What differs from host to host. Everything that reaches a unit file is checked here, so that nothing
//! in it means more to systemd than it says.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;

use ephyr_names::AgentName;
use ipnet::IpNet;
use serde::Deserialize;

/// Longest name of a user that every tool takes (utmp has room for 32 bytes with the end mark).
const MAX_USER: usize = 31;
/// UIDs of the base system, and those that systemd gives to homes, containers and services while it runs; an agent's is
/// none of them.
const RESERVED: [std::ops::RangeInclusive<u32>; 3] = [0..=99, 60_001..=65_535, u32::MAX..=u32::MAX];

/// What the units are filled in with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where `bin/ephyr`, `bin/ephyr-signer`, `bin/ephyr-broker` and `bin/ephyr-netguard` are.
    pub package: String,
    /// The program `nft`.
    pub nft: String,
    /// The program `systemctl`.
    pub systemctl: String,
    /// Where the CA's private key lies.
    pub ca_key: Credential,
    /// The broker's credentials, by the names that the policy gives them.
    pub credentials: BTreeMap<String, Credential>,
    /// What agents may read besides their own directory, as far as it is there. Sockets in it can be connected to, on
    /// kernels before Landlock ABI 9.
    pub readable: Vec<String>,
    /// The agents of this host.
    pub agents: BTreeMap<AgentName, Agent>,
}

/// A file that systemd hands to one unit alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The file.
    pub file: String,
    /// Whether it was encrypted with `systemd-creds encrypt`.
    #[serde(default)]
    pub encrypted: bool,
}

/// An agent that lives on this host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its UID, the one that the policy gives it.
    pub uid: u32,
    /// Its user; `ephyr-agent-<name>` if left out.
    #[serde(default)]
    pub user: Option<String>,
    /// What its unit runs, word by word; without it there is a user and no unit.
    #[serde(default)]
    pub command: Vec<String>,
    /// Where it may go without the broker, as in the policy; its unit then has the host's network.
    #[serde(default)]
    pub egress: Vec<Egress>,
}

/// Somewhere that an agent may go by itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Egress {
    /// The addresses.
    pub cidr: IpNet,
    /// The TCP port.
    pub port: NonZeroU16,
}

/// What is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct Fault {
    /// The key, with dots.
    pub at: String,
    /// What is wrong there, and what would be right.
    pub what: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            package: "/usr".into(),
            nft: "/usr/sbin/nft".into(),
            systemctl: "/usr/bin/systemctl".into(),
            ca_key: Credential {
                file: "/etc/ephyr/ca_key".into(),
                encrypted: false,
            },
            credentials: BTreeMap::new(),
            readable: ["/usr", "/etc", "/proc"].map(String::from).into(),
            agents: BTreeMap::new(),
        }
    }
}

impl Agent {
    /// The agent's user.
    #[must_use]
    pub fn user(&self, name: &AgentName) -> String {
        let user = self.user.clone();
        user.unwrap_or_else(|| format!("ephyr-agent-{name}"))
    }
}

impl Settings {
    /// Everything that is wrong with them; none if they can be used.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |at: String, found: Result<(), String>| {
            if let Err(what) = found {
                faults.push(Fault { at, what });
            }
        };
        check("package".into(), path(&self.package));
        check("nft".into(), path(&self.nft));
        check("systemctl".into(), path(&self.systemctl));
        check("ca_key.file".into(), path(&self.ca_key.file));
        for (name, credential) in &self.credentials {
            check(format!("credentials.{name}"), credential_name(name));
            check(format!("credentials.{name}.file"), path(&credential.file));
        }
        for (index, readable) in self.readable.iter().enumerate() {
            check(format!("readable[{index}]"), path(readable));
            check(format!("readable[{index}]"), part(readable));
        }
        let (mut users, mut uids) = (BTreeMap::new(), BTreeMap::new());
        for (name, agent) in &self.agents {
            let at = |key: &str| format!("agents.{name}.{key}");
            let user_name = agent.user(name);
            check(at("user"), user(&user_name));
            check(at("user"), unique(&mut users, &user_name, name));
            check(at("uid"), uid(agent.uid));
            check(at("uid"), unique(&mut uids, &agent.uid, name));
            for word in &agent.command {
                check(at("command"), printable(word));
            }
        }
        faults
    }
}

fn path(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,=".contains(c);
    if !text.starts_with('/') {
        Err(format!("{text:?} is no absolute path"))
    } else if text.split('/').any(|part| part == "..") {
        Err(format!("{text:?} goes up with .."))
    } else if let Some(found) = text.chars().find(|c| !plain(*c)) {
        Err(format!(
            "{text:?} has {found:?}; use letters, digits and / . _ - + , ="
        ))
    } else {
        Ok(())
    }
}

/// An agent's root is empty so that nothing is in it by accident.
fn part(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    match parts.as_slice() {
        [] | ["run" | "var"] => Err(format!(
            "{text:?} has the sockets of the whole system in it; name what agents need"
        )),
        _ => Ok(()),
    }
}

fn credential_name(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(plain) {
        return Err(format!(
            "{text:?} is no name of a credential; use letters, digits, '.', '_' and '-'"
        ));
    }
    Ok(())
}

fn user(text: &str) -> Result<(), String> {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| first(c) || c.is_ascii_digit() || c == '-';
    if !text.starts_with(first) || !text.chars().all(rest) || text.len() > MAX_USER {
        return Err(format!(
            "{text:?} is no name of a user: small letters, digits, '_' and '-', at most {MAX_USER} \
             of them; give the agent another with `user`"
        ));
    }
    if ["root", "ephyr-signer", "ephyr-broker", "ephyr-netguard"].contains(&text) {
        return Err(format!(
            "{text:?} is somebody else; an agent has a user of its own"
        ));
    }
    Ok(())
}

fn uid(uid: u32) -> Result<(), String> {
    if RESERVED.iter().any(|range| range.contains(&uid)) {
        return Err(format!(
            "{uid} belongs to the system; take one from 100 to 60000"
        ));
    }
    Ok(())
}

fn printable(word: &str) -> Result<(), String> {
    if word.chars().any(char::is_control) {
        return Err(format!("{word:?} has a control character"));
    }
    Ok(())
}

fn unique<'a, K: Ord + fmt::Display + Clone>(
    seen: &mut BTreeMap<K, &'a AgentName>,
    key: &K,
    name: &'a AgentName,
) -> Result<(), String> {
    match seen.insert(key.clone(), name) {
        Some(other) => Err(format!("{key} is agent {other}'s; each has its own")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Vec<String> {
        let settings: Settings = serde_json::from_str(json).unwrap();
        settings.faults().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sound_settings_have_no_fault() {
        let none: [String; 0] = [];
        assert_eq!(faults("{}"), none);
        let json = r#"{"package": "/nix/store/x-ephyr-0.1.0", "credentials": {"a_key": {"file": "/etc/k"}},
            "agents": {"deploy": {"uid": 1501, "command": ["/bin/sh", "-c", "echo $HOME %n \"x\""],
                                  "egress": [{"cidr": "192.0.2.0/24", "port": 443}]}}}"#;
        assert_eq!(faults(json), none);
    }

    #[test]
    fn what_systemd_would_read_otherwise_is_refused() {
        for bad in [
            "usr", "/a b", "/a%n", "/a\\nb", "/a:b", "/a@b", "/a/../b", "/a$b",
        ] {
            let json = format!(r#"{{"ca_key": {{"file": "{bad}"}}}}"#);
            assert_eq!(faults(&json).len(), 1, "{bad}");
        }
        assert_eq!(
            faults(r#"{"credentials": {"a:b": {"file": "/k"}}}"#).len(),
            1
        );
        assert_eq!(
            faults(r#"{"agents": {"a": {"uid": 1500, "command": ["a\nb"]}}}"#).len(),
            1
        );
    }

    #[test]
    fn agents_share_neither_user_nor_uid_nor_take_the_daemons() {
        let two = |a: &str, b: &str| faults(&format!(r#"{{"agents": {{"a": {a}, "b": {b}}}}}"#));
        assert!(two(r#"{"uid": 1500}"#, r#"{"uid": 1501}"#).is_empty());
        assert_eq!(
            two(r#"{"uid": 1500}"#, r#"{"uid": 1500}"#),
            ["agents.b.uid: 1500 is agent a's; each has its own"]
        );
        assert_eq!(
            two(
                r#"{"uid": 1500, "user": "x"}"#,
                r#"{"uid": 1501, "user": "x"}"#
            )
            .len(),
            1
        );
        for bad in [
            r#"{"uid": 0}"#,
            r#"{"uid": 60001}"#,
            r#"{"uid": 61184}"#,
            r#"{"uid": 65534}"#,
            r#"{"uid": 4294967295}"#,
            r#"{"uid": 1500, "user": "root"}"#,
            r#"{"uid": 1500, "user": "ephyr-broker"}"#,
            r#"{"uid": 1500, "user": "With.Dot"}"#,
        ] {
            assert_eq!(two(bad, r#"{"uid": 1501}"#).len(), 1, "{bad}");
        }
    }

    #[test]
    fn w39_an_agent_without_a_uid_is_refused_rather_than_root() {
        assert!(serde_json::from_str::<Settings>(r#"{"agents": {"a": {}}}"#).is_err());
        assert_eq!(faults(r#"{"agents": {"a": {"uid": 0}}}"#).len(), 1);
        assert!(faults(r#"{"agents": {"a": {"uid": 1500}}}"#).is_empty());
    }

    #[test]
    fn what_agents_read_is_a_part_of_the_system_and_not_all_of_it() {
        for whole in ["/", "//", "/.", "/run", "/run/", "/var"] {
            let found = faults(&format!(r#"{{"readable": ["/etc", "{whole}"]}}"#));
            assert_eq!(found.len(), 1, "{whole}: {found:?}");
            assert!(found[0].starts_with("readable[1]: "), "{found:?}");
        }
        assert!(
            faults(r#"{"readable": ["/opt/tools", "/run/tools", "/var/lib/data"]}"#).is_empty()
        );
    }

    #[test]
    fn unknown_keys_are_errors() {
        for bad in [
            r#"{"agent": {}}"#,
            r#"{"agents": {"a": {"uid": 1, "cmd": []}}}"#,
        ] {
            assert!(serde_json::from_str::<Settings>(bad).is_err(), "{bad}");
        }
    }
}
