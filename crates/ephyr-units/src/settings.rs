//! The settings of one host. Every value that reaches a unit file is checked here, so that systemd cannot interpret it
//! as anything else.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;

use ephyr_names::AgentName;
use ipnet::IpNet;
use serde::Deserialize;

/// Maximum length of a user name that every tool accepts (utmp stores 32 bytes with the terminating NUL).
const MAX_USER: usize = 31;
/// UIDs that an agent must not have: those of the base system, and those that systemd assigns dynamically to homes,
/// containers and services.
const RESERVED: [std::ops::RangeInclusive<u32>; 3] = [0..=99, 60_001..=65_535, u32::MAX..=u32::MAX];

/// The settings of one host, which replace the placeholders of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The directory with `bin/ephyr`, `bin/ephyr-signer`, `bin/ephyr-broker` and `bin/ephyr-netguard`.
    pub package: String,
    /// The path of `nft`.
    pub nft: String,
    /// The path of `systemctl`.
    pub systemctl: String,
    /// The CA's private key.
    pub ca_key: Credential,
    /// The broker's credentials, by the names that the policy gives them.
    pub credentials: BTreeMap<String, Credential>,
    /// The paths that agents may read besides their own directory; missing ones are ignored. On kernels before Landlock
    /// ABI 9, agents can also connect to sockets below them.
    pub readable: Vec<String>,
    /// The agents of this host.
    pub agents: BTreeMap<AgentName, Agent>,
}

/// A file that systemd passes to one unit only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Its path.
    pub file: String,
    /// Whether it was encrypted with `systemd-creds encrypt`.
    #[serde(default)]
    pub encrypted: bool,
}

/// An agent that runs on this host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its UID, as in the policy.
    pub uid: u32,
    /// Its user; `ephyr-agent-<name>` if left out.
    #[serde(default)]
    pub user: Option<String>,
    /// The command of its unit, as words. If empty, the agent has a user but no unit.
    #[serde(default)]
    pub command: Vec<String>,
    /// The destinations that it may connect to without the broker, as in the policy. If any, its unit has the host's
    /// network.
    #[serde(default)]
    pub egress: Vec<Egress>,
}

/// A destination that an agent may connect to without the broker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Egress {
    /// The addresses.
    pub cidr: IpNet,
    /// The TCP port.
    pub port: NonZeroU16,
}

/// A fault of the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct Fault {
    /// The setting, such as `agents.deploy.uid`.
    pub at: String,
    /// The fault, and the valid values.
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
    /// Returns the agent's user.
    #[must_use]
    pub fn user(&self, name: &AgentName) -> String {
        let user = self.user.clone();
        user.unwrap_or_else(|| format!("ephyr-agent-{name}"))
    }
}

impl Settings {
    /// Returns every fault of the settings; empty if they are valid.
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
            check(format!("readable[{index}]"), not_system_wide(readable));
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
        Err(format!("{text:?} is not an absolute path"))
    } else if text.split('/').any(|part| part == "..") {
        Err(format!("{text:?} contains `..`"))
    } else if let Some(found) = text.chars().find(|c| !plain(*c)) {
        Err(format!(
            "{text:?} contains {found:?}; use letters, digits and / . _ - + , ="
        ))
    } else {
        Ok(())
    }
}

/// Rejects paths with the sockets of all services: an agent's root contains only selected paths.
fn not_system_wide(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    match parts.as_slice() {
        [] | ["run" | "var"] => Err(format!(
            "{text:?} contains the sockets of the whole system; list the paths that agents need"
        )),
        _ => Ok(()),
    }
}

fn credential_name(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(plain) {
        return Err(format!(
            "{text:?} is not a credential name; use letters, digits, '.', '_' and '-'"
        ));
    }
    Ok(())
}

fn user(text: &str) -> Result<(), String> {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| first(c) || c.is_ascii_digit() || c == '-';
    if !text.starts_with(first) || !text.chars().all(rest) || text.len() > MAX_USER {
        return Err(format!(
            "{text:?} is not a valid user name; set `user` to at most {MAX_USER} lowercase letters, digits, \
             '_' and '-'"
        ));
    }
    if ["root", "ephyr-signer", "ephyr-broker", "ephyr-netguard"].contains(&text) {
        return Err(format!(
            "user {text:?} is reserved; give the agent a user of its own"
        ));
    }
    Ok(())
}

fn uid(uid: u32) -> Result<(), String> {
    if RESERVED.iter().any(|range| range.contains(&uid)) {
        return Err(format!(
            "UID {uid} is reserved for the system; use one from 100 to 60000"
        ));
    }
    Ok(())
}

fn printable(word: &str) -> Result<(), String> {
    if word.chars().any(char::is_control) {
        return Err(format!("{word:?} contains a control character"));
    }
    Ok(())
}

fn unique<'a, K: Ord + fmt::Display + Clone>(
    seen: &mut BTreeMap<K, &'a AgentName>,
    key: &K,
    name: &'a AgentName,
) -> Result<(), String> {
    match seen.insert(key.clone(), name) {
        Some(other) => Err(format!(
            "{key} is already used by agent {other}; each agent needs its own"
        )),
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
    fn valid_settings_have_no_fault() {
        let none: [String; 0] = [];
        assert_eq!(faults("{}"), none);
        let json = r#"{"package": "/nix/store/x-ephyr-0.1.0", "credentials": {"a_key": {"file": "/etc/k"}},
            "agents": {"deploy": {"uid": 1501, "command": ["/bin/sh", "-c", "echo $HOME %n \"x\""],
                                  "egress": [{"cidr": "192.0.2.0/24", "port": 443}]}}}"#;
        assert_eq!(faults(json), none);
    }

    #[test]
    fn values_that_systemd_would_interpret_are_rejected() {
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
    fn agents_have_unique_unreserved_users_and_uids() {
        let two = |a: &str, b: &str| faults(&format!(r#"{{"agents": {{"a": {a}, "b": {b}}}}}"#));
        assert!(two(r#"{"uid": 1500}"#, r#"{"uid": 1501}"#).is_empty());
        assert_eq!(
            two(r#"{"uid": 1500}"#, r#"{"uid": 1500}"#),
            ["agents.b.uid: 1500 is already used by agent a; each agent needs its own"]
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
    fn w39_agent_without_a_uid_is_rejected() {
        assert!(serde_json::from_str::<Settings>(r#"{"agents": {"a": {}}}"#).is_err());
        assert_eq!(faults(r#"{"agents": {"a": {"uid": 0}}}"#).len(), 1);
        assert!(faults(r#"{"agents": {"a": {"uid": 1500}}}"#).is_empty());
    }

    #[test]
    fn system_wide_readable_paths_are_rejected() {
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
