//! Combines base, unit and settings into the directives of each unit on one host.

use std::collections::{BTreeMap, BTreeSet};

use ephyr_names::AgentName;

use crate::settings::{Agent, Credential, Settings};
use crate::table::{Directives, Sections, Table, Value};

/// Units by their file names, each with its sections.
pub type Units = BTreeMap<String, BTreeMap<String, Section>>;
/// A section's directives, by their names.
pub type Section = BTreeMap<String, Value>;

/// Returns the units of a host: the table with its placeholders replaced. The settings must have no faults.
#[must_use]
pub fn compose(table: &Table, settings: &Settings) -> Units {
    let host = Placeholders::of_host(settings);
    let mut units: Units = table
        .units
        .iter()
        .map(|(name, sections)| (name.clone(), host.fill(&with_base(table, sections))))
        .collect();
    for (name, agent) in &settings.agents {
        if agent.command.is_empty() {
            continue;
        }
        let mut sections = with_base(table, &table.agent);
        if !agent.egress.is_empty() {
            for (section, directives) in &table.agent_egress {
                let into: &mut Directives = sections.entry(section.clone()).or_default();
                into.extend(directives.clone());
            }
        }
        let placeholders = host.clone().for_agent(name, agent);
        units.insert(
            format!("ephyr-agent-{name}.service"),
            placeholders.fill(&sections),
        );
    }
    units
}

/// Returns the sections with the base added to `[Service]`, whose own directives win. A socket unit has no base.
fn with_base(table: &Table, sections: &Sections) -> Sections {
    let mut sections = sections.clone();
    if let Some(service) = sections.get_mut("Service") {
        let mut whole = table.base.clone();
        whole.append(service);
        *service = whole;
    }
    sections
}

/// The value of each placeholder `@name@`.
#[derive(Debug, Clone)]
struct Placeholders {
    /// Placeholders within a text.
    texts: Vec<(&'static str, String)>,
    /// Placeholders that stand for items of a list.
    lists: Vec<(&'static str, Vec<String>)>,
}

impl Placeholders {
    fn of_host(settings: &Settings) -> Self {
        let own = BTreeMap::from([("ca_key".to_owned(), settings.ca_key.clone())]);
        let others = &settings.credentials;
        Self {
            texts: vec![
                ("@package@", settings.package.clone()),
                ("@nft@", settings.nft.clone()),
                ("@systemctl@", settings.systemctl.clone()),
                ("@readable@", readable(&settings.readable)),
            ],
            lists: vec![
                ("@ca_key@", credentials(&own, false)),
                ("@ca_key_encrypted@", credentials(&own, true)),
                ("@credentials@", credentials(others, false)),
                ("@credentials_encrypted@", credentials(others, true)),
                ("@shown@", shown(&settings.readable)),
            ],
        }
    }

    fn for_agent(mut self, name: &AgentName, agent: &Agent) -> Self {
        let words: Vec<String> = agent.command.iter().map(|word| quoted(word)).collect();
        self.texts.extend([
            ("@agent@", name.to_string()),
            ("@user@", agent.user(name)),
            ("@uid@", agent.uid.to_string()),
            ("@connect@", connect(agent)),
            // Last, so that an agent's command is never searched for placeholders.
            ("@command@", words.join(" ")),
        ]);
        let egress = agent.egress.iter().map(|egress| egress.cidr.to_string());
        self.lists.push(("@egress@", egress.collect()));
        self
    }

    fn fill(&self, sections: &Sections) -> BTreeMap<String, Section> {
        let section = |directives: &Directives| {
            let filled = directives
                .iter()
                .map(|(key, value)| (key.clone(), self.value(value)));
            filled.collect()
        };
        sections
            .iter()
            .map(|(name, directives)| (name.clone(), section(directives)))
            .collect()
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::Text(text) => Value::Text(self.text(text)),
            Value::List(items) => {
                Value::List(items.iter().flat_map(|item| self.item(item)).collect())
            }
            other => other.clone(),
        }
    }

    fn item(&self, item: &str) -> Vec<String> {
        match self.lists.iter().find(|(name, _)| *name == item) {
            Some((_, items)) => items.clone(),
            None => vec![self.text(item)],
        }
    }

    fn text(&self, text: &str) -> String {
        let fill = |text: String, (name, value): &(&str, String)| text.replace(name, value);
        self.texts.iter().fold(text.to_owned(), fill)
    }
}

fn credentials(all: &BTreeMap<String, Credential>, encrypted: bool) -> Vec<String> {
    all.iter()
        .filter(|(_, credential)| credential.encrypted == encrypted)
        .map(|(name, credential)| format!("{name}:{}", credential.file))
        .collect()
}

fn readable(paths: &[String]) -> String {
    let options: Vec<String> = paths.iter().map(|path| format!("--ro {path}")).collect();
    options.join(" ")
}

/// Returns the paths to bind into agents' root, each ignored if missing, without `/proc`, `/sys` and `/dev`, which
/// every unit has of its own.
fn shown(paths: &[String]) -> Vec<String> {
    let own = |path: &str| {
        let below = |top: &str| path.strip_prefix(top);
        ["/proc", "/sys", "/dev"]
            .into_iter()
            .filter_map(below)
            .any(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let others = paths.iter().filter(|path| !own(path));
    others.map(|path| format!("-{path}")).collect()
}

/// Returns the TCP ports that Landlock allows, each once. Landlock has no rules for addresses: `IPAddressAllow=` and
/// nftables restrict those.
fn connect(agent: &Agent) -> String {
    let ports: BTreeSet<_> = agent.egress.iter().map(|egress| egress.port).collect();
    ports
        .iter()
        .map(|port| format!(" --connect {port}"))
        .collect()
}

/// Returns a word quoted for `ExecStart=` (systemd.service(5)), with specifiers and variables escaped.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('%', "%%").replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TABLE;

    fn units(settings: &str) -> Units {
        let settings: Settings = serde_json::from_str(settings).unwrap();
        assert_eq!(settings.faults(), []);
        compose(&Table::parse(TABLE).unwrap(), &settings)
    }

    fn line(units: &Units, unit: &str, key: &str) -> Vec<String> {
        units[unit]["Service"]
            .get(key)
            .map(Value::lines)
            .unwrap_or_default()
    }

    #[test]
    fn service_directives_override_the_base() {
        let units = units("{}");
        let signer = "ephyr-signer.service";
        assert_eq!(line(&units, signer, "ProtectSystem"), ["strict"]);
        assert_eq!(line(&units, signer, "PrivateNetwork"), ["true"]);
        let broker = "ephyr-broker.service";
        assert_eq!(line(&units, broker, "PrivateNetwork"), ["false"]);
        assert!(!units["ephyr-broker.socket"].contains_key("Service"));
    }

    #[test]
    fn reload_propagation_has_no_cycle() {
        let units = units(r#"{"agents": {"a": {"uid": 1500, "command": ["/bin/true"]}}}"#);
        let named = |unit: &str, key: &str| {
            let value = units
                .get(unit)
                .and_then(|sections| sections["Unit"].get(key));
            value.map(Value::lines).unwrap_or_default()
        };
        let passed_on = |from: &str| {
            let mut to = named(from, "PropagatesReloadTo");
            let others = units.keys().filter(|unit| {
                let sources = named(unit, "ReloadPropagatedFrom");
                sources.iter().any(|source| source == from)
            });
            to.extend(others.cloned());
            to
        };
        let mut passes = 0;
        for begun in units.keys() {
            let (mut reached, mut next) = (Vec::new(), passed_on(begun));
            while let Some(unit) = next.pop() {
                passes += 1;
                assert_ne!(&unit, begun, "by way of {reached:?}");
                if !reached.contains(&unit) {
                    next.extend(passed_on(&unit));
                    reached.push(unit);
                }
            }
        }
        assert_eq!(passes, 2, "broker to signer and network guard");
    }

    #[test]
    fn all_placeholders_are_replaced() {
        let units = units(
            r#"{"agents": {"a": {"uid": 1500, "command": ["/bin/true"], "egress": [{"cidr": "::1/128", "port": 80}]},
                           "b": {"uid": 1501, "command": ["/bin/true"]}}}"#,
        );
        let has_placeholder = |text: &str| {
            let mut parts = text.split('@').skip(1).peekable();
            std::iter::from_fn(|| parts.next().filter(|_| parts.peek().is_some()))
                .any(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase()))
        };
        assert!(has_placeholder("a @user@ b") && !has_placeholder("~@privileged @resources"));
        for (name, sections) in &units {
            for (key, value) in sections.values().flatten() {
                for text in value.lines() {
                    assert!(!has_placeholder(&text), "{name} {key} {text}");
                }
            }
        }
    }

    #[test]
    fn credentials_reach_only_their_unit() {
        let units = units(
            r#"{"ca_key": {"file": "/k", "encrypted": true},
                "credentials": {"one": {"file": "/1"}, "two": {"file": "/2", "encrypted": true}}}"#,
        );
        let signer = "ephyr-signer.service";
        assert!(line(&units, signer, "LoadCredential").is_empty());
        assert_eq!(
            line(&units, signer, "LoadCredentialEncrypted"),
            ["ca_key:/k"]
        );
        let broker = "ephyr-broker.service";
        assert_eq!(line(&units, broker, "LoadCredential"), ["one:/1"]);
        assert_eq!(line(&units, broker, "LoadCredentialEncrypted"), ["two:/2"]);
    }

    #[test]
    fn agent_root_contains_only_the_listed_paths() {
        let units = units(
            r#"{"package": "/opt/ephyr", "readable": ["/etc", "/proc", "/sys/block", "/device", "/opt/tools"],
                "agents": {"a": {"uid": 1500, "command": ["x"]}}}"#,
        );
        let agent = "ephyr-agent-a.service";
        assert_eq!(
            line(&units, agent, "RootDirectory"),
            ["/var/lib/ephyr-agent-root"]
        );
        let bound = line(&units, agent, "BindReadOnlyPaths");
        for path in ["/run/ephyr", "-/opt/ephyr/bin", "-/device", "-/opt/tools"] {
            assert!(bound.iter().any(|item| item == path), "{path}: {bound:?}");
        }
        for part in ["/proc", "/sys", "/srv", "/nix/var"] {
            assert!(!bound.iter().any(|item| item.contains(part)), "{part}");
        }
        assert!(
            !bound
                .iter()
                .any(|item| ["/", "-/", "/run", "/opt", "-/opt"].contains(&item.as_str()))
        );
    }

    #[test]
    fn only_agents_with_egress_have_a_network() {
        let units = units(
            r#"{"agents": {"in": {"uid": 1500, "command": ["x"]},
                           "out": {"uid": 1501, "command": ["x"], "egress": [
                             {"cidr": "192.0.2.7/32", "port": 443}, {"cidr": "192.0.2.8/32", "port": 80},
                             {"cidr": "192.0.2.9/32", "port": 443}]},
                           "none": {"uid": 1502}}}"#,
        );
        let (inside, out) = ("ephyr-agent-in.service", "ephyr-agent-out.service");
        assert_eq!(line(&units, inside, "PrivateNetwork"), ["true"]);
        assert_eq!(line(&units, inside, "RestrictAddressFamilies"), ["AF_UNIX"]);
        assert!(line(&units, inside, "IPAddressAllow").is_empty());
        assert_eq!(line(&units, out, "PrivateNetwork"), ["false"]);
        let allowed = ["192.0.2.7/32", "192.0.2.8/32", "192.0.2.9/32"];
        assert_eq!(line(&units, out, "IPAddressAllow"), allowed);
        let ports = |unit| {
            line(&units, unit, "ExecStart")[0]
                .matches(" --connect ")
                .count()
        };
        assert_eq!((ports(inside), ports(out)), (0, 2));
        let command = &line(&units, out, "ExecStart")[0];
        assert!(
            command.contains(" --connect 80 --connect 443 --rw"),
            "{command}"
        );
        assert_eq!(line(&units, out, "IPAddressDeny"), ["any"]);
        assert!(!units.contains_key("ephyr-agent-none.service"));
    }

    #[test]
    fn command_words_are_passed_literally() {
        assert_eq!(quoted("a b"), r#""a b""#);
        assert_eq!(quoted(r#"%n $HOME "q" \ ;"#), r#""%%n $$HOME \"q\" \\ ;""#);
        let units =
            units(r#"{"agents": {"a": {"uid": 1500, "command": ["echo", "@agent@", "@user@"]}}}"#);
        let command = &line(&units, "ephyr-agent-a.service", "ExecStart")[0];
        assert!(
            command.ends_with(r#" -- "echo" "@agent@" "@user@""#),
            "{command}"
        );
    }
}
