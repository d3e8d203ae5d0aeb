//! Units as files, and the accounts and directories that they need.

use std::fmt::Write as _;

use crate::compose::{Units, compose};
use crate::settings::{Fault, Settings};
use crate::table::{TABLE, Table, TableError};

/// The first line of every file: whoever finds it knows where it comes from.
pub const HEADER: &str =
    "# Made by `ephyr units render`; what is changed here is lost when it is made again.";

/// The order of sections in a file.
const SECTIONS: [&str; 4] = ["Unit", "Service", "Socket", "Install"];

/// A file to be written, mode 0644.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path below `/etc`, such as `systemd/system/ephyr-signer.service`.
    pub path: String,
    /// What it contains.
    pub content: String,
}

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The table of units.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The settings; all that is wrong with them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Settings(Vec<Fault>),
}

/// The unit files of an appliance, with `sysusers.d` and `tmpfiles.d`.
///
/// # Errors
///
/// [`RenderError::Settings`] lists everything that is wrong with the settings.
pub fn render(settings: &Settings) -> Result<Vec<File>, RenderError> {
    let faults = settings.faults();
    if !faults.is_empty() {
        return Err(RenderError::Settings(faults));
    }
    let table = Table::parse(TABLE)?;
    let mut files = units(&compose(&table, settings));
    files.push(File {
        path: "sysusers.d/ephyr.conf".into(),
        content: users(&table, settings),
    });
    files.push(File {
        path: "tmpfiles.d/ephyr.conf".into(),
        content: directories(&table, settings),
    });
    Ok(files)
}

fn units(units: &Units) -> Vec<File> {
    let file = |(name, sections): (&String, &std::collections::BTreeMap<_, _>)| {
        let mut content = format!("{HEADER}\n");
        for section in SECTIONS {
            let Some(directives) = sections.get(section) else {
                continue;
            };
            let _ = writeln!(content, "\n[{section}]");
            write_directives(&mut content, directives);
        }
        File {
            path: format!("systemd/system/{name}"),
            content,
        }
    };
    units.iter().map(file).collect()
}

fn write_directives(content: &mut String, directives: &crate::compose::Section) {
    for (key, value) in directives {
        for line in value.lines() {
            let _ = writeln!(content, "{key}={line}");
        }
    }
}

/// sysusers.d(5).
fn users(table: &Table, settings: &Settings) -> String {
    let mut text = format!("{HEADER}\n");
    for (name, purpose) in &table.users {
        let _ = writeln!(text, "u {name} - \"{purpose}\"");
    }
    for (name, agent) in &settings.agents {
        let (user, uid) = (agent.user(name), agent.uid);
        let home = format!("/var/lib/ephyr-agents/{name}");
        let _ = writeln!(text, "u {user} {uid} \"Ephyr agent {name}\" {home}");
    }
    for (group, members) in &table.groups {
        let _ = writeln!(text, "g {group} -");
        for member in members {
            let _ = writeln!(text, "m {member} {group}");
        }
    }
    for (name, agent) in &settings.agents {
        let _ = writeln!(text, "m {} ephyr-agents", agent.user(name));
    }
    text
}

/// tmpfiles.d(5).
fn directories(table: &Table, settings: &Settings) -> String {
    let mut text = format!("{HEADER}\n");
    for (path, mode) in &table.directories {
        let _ = writeln!(text, "d {path} {mode} root root -");
    }
    for (name, agent) in &settings.agents {
        let user = agent.user(name);
        let _ = writeln!(text, "d /var/lib/ephyr-agents/{name} 0700 {user} {user} -");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(settings: &str, path: &str) -> String {
        let settings: Settings = serde_json::from_str(settings).unwrap();
        let files = render(&settings).unwrap();
        files
            .into_iter()
            .find(|file| file.path == path)
            .unwrap()
            .content
    }

    #[test]
    fn a_unit_file_has_its_sections_in_order() {
        let text = file("{}", "systemd/system/ephyr-signer.socket");
        let places: Vec<_> = ["[Unit]", "[Socket]", "[Install]"]
            .iter()
            .map(|section| text.find(section).unwrap())
            .collect();
        assert!(places.is_sorted(), "{text}");
        assert!(text.contains("\nListenStream=/run/ephyr-signer/signer.sock\n"));
    }

    #[test]
    fn no_capabilities_are_an_empty_line_and_not_a_missing_one() {
        let text = file("{}", "systemd/system/ephyr-signer.service");
        assert!(text.contains("\nCapabilityBoundingSet=\n"), "{text}");
    }

    #[test]
    fn only_the_broker_may_speak_to_the_signer_and_only_agents_to_the_broker() {
        let text = file(
            r#"{"agents": {"deploy": {"uid": 1501}}}"#,
            "sysusers.d/ephyr.conf",
        );
        let members: Vec<&str> = text.lines().filter(|line| line.starts_with("m ")).collect();
        assert_eq!(
            members,
            [
                "m ephyr-broker ephyr-signer-clients",
                "m ephyr-agent-deploy ephyr-agents"
            ]
        );
        assert!(text.contains(
            "\nu ephyr-agent-deploy 1501 \"Ephyr agent deploy\" /var/lib/ephyr-agents/deploy\n"
        ));
    }

    #[test]
    fn an_agents_directory_is_its_own() {
        let text = file(
            r#"{"agents": {"deploy": {"uid": 1501}}}"#,
            "tmpfiles.d/ephyr.conf",
        );
        let own = "\nd /var/lib/ephyr-agents/deploy 0700 ephyr-agent-deploy ephyr-agent-deploy -\n";
        assert!(text.contains(own), "{text}");
    }

    #[test]
    fn w39_no_two_units_own_one_directory_or_run_as_one_user() {
        let table = Table::parse(TABLE).unwrap();
        let units = compose(&table, &Settings::default());
        let mut owners = std::collections::BTreeMap::new();
        for (name, sections) in &units {
            let Some(service) = sections.get("Service") else {
                continue;
            };
            let owner = name
                .trim_end_matches("-table.service")
                .trim_end_matches(".service");
            for key in [
                "RuntimeDirectory",
                "StateDirectory",
                "LogsDirectory",
                "User",
            ] {
                for what in service
                    .get(key)
                    .map(crate::Value::lines)
                    .unwrap_or_default()
                {
                    let before = owners.insert((key, what.clone()), owner);
                    assert!(
                        before.is_none_or(|before| before == owner),
                        "{key}={what}: {name}"
                    );
                }
            }
        }
        assert!(owners.len() > 5);
    }

    #[test]
    fn w39_the_key_stays_roots_and_reaches_the_signer_alone() {
        for file in render(&Settings::default()).unwrap() {
            let named: Vec<&str> = file
                .content
                .lines()
                .filter(|line| line.contains("ca_key"))
                .collect();
            if file.path == "systemd/system/ephyr-signer.service" {
                assert_eq!(named, ["LoadCredential=ca_key:/etc/ephyr/ca_key"]);
            } else {
                assert!(named.is_empty(), "{}: {named:?}", file.path);
            }
        }
    }

    #[test]
    fn w39_everyone_may_read_the_policy() {
        let text = file("{}", "tmpfiles.d/ephyr.conf");
        assert!(text.contains("\nd /etc/ephyr 0755 root root -\n"), "{text}");
    }

    #[test]
    fn settings_with_faults_give_no_file_and_name_all_of_them() {
        let json = r#"{"package": "usr", "agents": {"a": {"uid": 0}}}"#;
        let settings: Settings = serde_json::from_str(json).unwrap();
        let error = render(&settings).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 2, "{error}");
    }
}
