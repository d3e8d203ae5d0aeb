//! Renders the units as files, with the sysusers.d and tmpfiles.d entries that they need.

use std::fmt::Write as _;

use crate::compose::{Units, compose};
use crate::settings::{Fault, Settings};
use crate::table::{TABLE, Table, TableError};

/// The first line of every file, which names its origin.
pub const HEADER: &str =
    "# Made by `ephyr units render`; what is changed here is lost when it is made again.";

/// The order of sections in a file.
const SECTIONS: [&str; 4] = ["Unit", "Service", "Socket", "Install"];

/// A file to be written, mode 0644.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path below `/etc`, such as `systemd/system/ephyr-signer.service`.
    pub path: String,
    /// Its content.
    pub content: String,
}

/// The reason why the files cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The table of units cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The settings are invalid; lists every fault.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Settings(Vec<Fault>),
}

/// Returns the unit files of an appliance and its `sysusers.d` and `tmpfiles.d` files.
///
/// # Errors
/// [`RenderError`].
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

/// Returns the users and groups, in the format of sysusers.d(5).
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

/// Returns the directories, in the format of tmpfiles.d(5).
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
    fn unit_file_sections_are_in_order() {
        let text = file("{}", "systemd/system/ephyr-signer.socket");
        let places: Vec<_> = ["[Unit]", "[Socket]", "[Install]"]
            .iter()
            .map(|section| text.find(section).unwrap())
            .collect();
        assert!(places.is_sorted(), "{text}");
        assert!(text.contains("\nListenStream=/run/ephyr-signer/signer.sock\n"));
    }

    #[test]
    fn empty_capability_set_is_written_as_an_empty_line() {
        let text = file("{}", "systemd/system/ephyr-signer.service");
        assert!(text.contains("\nCapabilityBoundingSet=\n"), "{text}");
    }

    #[test]
    fn socket_groups_have_only_the_intended_members() {
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
    fn agent_directory_is_private() {
        let text = file(
            r#"{"agents": {"deploy": {"uid": 1501}}}"#,
            "tmpfiles.d/ephyr.conf",
        );
        let own = "\nd /var/lib/ephyr-agents/deploy 0700 ephyr-agent-deploy ephyr-agent-deploy -\n";
        assert!(text.contains(own), "{text}");
    }

    #[test]
    fn w39_units_share_no_directory_and_no_user() {
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
                for value in service
                    .get(key)
                    .map(crate::Value::lines)
                    .unwrap_or_default()
                {
                    let before = owners.insert((key, value.clone()), owner);
                    assert!(
                        before.is_none_or(|before| before == owner),
                        "{key}={value}: {name}"
                    );
                }
            }
        }
        assert!(owners.len() > 5);
    }

    #[test]
    fn w39_only_the_signer_receives_the_ca_key() {
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
    fn w39_policy_directory_is_world_readable() {
        let text = file("{}", "tmpfiles.d/ephyr.conf");
        assert!(text.contains("\nd /etc/ephyr 0755 root root -\n"), "{text}");
    }

    #[test]
    fn invalid_settings_render_nothing_and_report_every_fault() {
        let json = r#"{"package": "usr", "agents": {"a": {"uid": 0}}}"#;
        let settings: Settings = serde_json::from_str(json).unwrap();
        let error = render(&settings).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 2, "{error}");
    }
}
