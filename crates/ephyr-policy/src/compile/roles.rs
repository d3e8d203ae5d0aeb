//! Section `roles`.

use std::collections::BTreeMap;

use ephyr_names::RoleName;

use super::view::View;
use crate::commands::{CommandPolicy, open_words};
use crate::diagnostic::Findings;
use crate::model::{Role, Sudo};
use crate::sealed::{SEALED_SHELLS, runs_sealed_commands};
use crate::{programs, sudo};

pub(super) fn compile(root: &View<'_>, findings: &mut Findings) -> BTreeMap<RoleName, Role> {
    root.map("roles")
        .into_iter()
        .filter_map(|(key, view)| {
            let name: RoleName = key.name.parse().ok()?;
            role(name.clone(), &view, findings).map(|role| (name, role))
        })
        .collect()
}

fn role(name: RoleName, view: &View<'_>, findings: &mut Findings) -> Option<Role> {
    let is = |key| view.bool(key).unwrap_or(false);
    let commands = view
        .has("commands")
        .then(|| CommandPolicy::new(view.texts("commands").map(|(_, text)| text)));
    let sudo = match view.bool("sudo") {
        Some(true) => Sudo::All,
        None if view.has("sudo") => {
            Sudo::Commands(view.texts("sudo").map(|(_, t)| t.to_owned()).collect())
        }
        _ => Sudo::None,
    };
    check_root(view, &sudo, findings);
    check_commands(view, findings);
    check_shell(view, findings);
    check_stdin(view, findings);
    Some(Role {
        name,
        principal: view.parsed("principal")?,
        description: view.text("description").unwrap_or_default().to_owned(),
        shell: view.text("shell").unwrap_or("/bin/bash").to_owned(),
        system: view.bool("system").unwrap_or(true),
        sudo,
        allow_root_equivalent: is("allow_root_equivalent"),
        pty: is("pty"),
        unsealed: is("unsealed"),
        port_forwarding: is("port_forwarding"),
        agent_forwarding: is("agent_forwarding"),
        commands,
    })
}

const CONFIRM_ROOT: &str = "if that is intended, set `allow_root_equivalent: true`";

/// Refuses everything that makes a role equivalent to root unless `allow_root_equivalent` confirms it.
fn check_root(view: &View<'_>, sudo: &Sudo, findings: &mut Findings) {
    let mut faults = Vec::new();
    if view.text("principal") == Some("root") {
        let message =
            format!("the account is root; use another account with sudo rules; {CONFIRM_ROOT}");
        let at = view.at("principal");
        faults.push(("E-PRINCIPAL-ROOT", at, view.path("principal"), message));
    }
    if *sudo == Sudo::All {
        let message =
            format!("`sudo: true` allows every command as root; list commands; {CONFIRM_ROOT}");
        faults.push(("E-SUDO-ALL", view.at("sudo"), view.path("sudo"), message));
    }
    if let Sudo::Commands(_) = sudo {
        for (index, command) in view.texts("sudo") {
            if let Some(why) = sudo::root_equivalent(command) {
                let (at, path) = view.place_of("sudo", index);
                let program = command.split(' ').next().unwrap_or_default();
                let message = format!(
                    "`{program}` with these arguments is equivalent to root: it {why}; {CONFIRM_ROOT}"
                );
                faults.push(("E-SUDO-ROOT", at, path, message));
            }
        }
    }
    match view.bool("allow_root_equivalent") {
        Some(true) if faults.is_empty() => {
            let message = "nothing in this role is known to be equivalent to root; remove the key";
            let at = view.at("allow_root_equivalent");
            findings.add(
                "W-ROOT-MARK",
                at,
                view.path("allow_root_equivalent"),
                message,
            );
        }
        Some(true) => {}
        _ => {
            for (code, at, path, message) in faults {
                findings.add(code, at, path, message);
            }
        }
    }
}

/// Refuses shells that are not known to run sealed commands: such a shell may run nothing, or a command that outlives
/// its timeout.
fn check_shell(view: &View<'_>, findings: &mut Findings) {
    let Some(shell) = view.text("shell") else {
        return;
    };
    let name = shell.rsplit('/').next().unwrap_or_default();
    if shell.starts_with('/') && !runs_sealed_commands(shell) {
        let message = format!(
            "`{name}` is not known to run sealed commands; use a shell named {}",
            SEALED_SHELLS.join(", ")
        );
        findings.add("E-SHELL", view.at("shell"), view.path("shell"), message);
    }
}

fn check_stdin(view: &View<'_>, findings: &mut Findings) {
    if view.bool("stdin") == Some(true) {
        let message = "standard input is not passed to commands yet, so `true` would have no effect; remove the \
                       key";
        findings.add("E-STDIN", view.at("stdin"), view.path("stdin"), message);
    }
}

fn check_commands(view: &View<'_>, findings: &mut Findings) {
    if !view.has("commands") {
        return;
    }
    let root = view.text("principal") == Some("root");
    for (index, text) in view.texts("commands") {
        let words = open_words(text).unwrap_or_default();
        let Some((program, fixed)) = words.split_first() else {
            continue;
        };
        if let Some(why) =
            programs::find(program).and_then(|known| known.with_open_arguments(fixed, root))
        {
            let (at, path) = view.place_of("commands", index);
            let message = format!(
                "`{program}` with open arguments {why}, so this pattern restricts little; list whole commands"
            );
            findings.add("W-COMMAND-OPEN", at, path, message);
        }
    }
    if view.bool("unsealed") == Some(true) {
        let message = "`unsealed: true` issues certificates that `commands` does not restrict; remove one of them, \
                       or move SSH sessions to a role without `commands`";
        let at = view.at("unsealed");
        findings.add("W-UNSEALED-COMMANDS", at, view.path("unsealed"), message);
        return;
    }
    for key in ["pty", "port_forwarding", "agent_forwarding"] {
        if view.bool(key) == Some(true) {
            let message = "has no effect: it applies to SSH sessions, which a role with `commands` does not get";
            findings.add("W-SESSION-ONLY", view.at(key), view.path(key), message);
        }
    }
}
