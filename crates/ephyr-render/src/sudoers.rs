//! The sudo rules: only positive rules, each with its exact arguments.

use std::fmt::Write as _;

use crate::host::{HostAccount, SudoRule};

/// Returns the sudoers file; `None` if no account may run anything as root.
pub(crate) fn rules(header: &str, accounts: &[HostAccount]) -> Option<String> {
    let mut text = String::new();
    for account in accounts.iter().filter(|account| !account.is_root()) {
        let Some(sudo) = &account.sudo else { continue };
        let name = &account.name;
        // Agents have no terminal, and the client's environment must not reach the command.
        let _ = writeln!(
            text,
            "\nDefaults:{name} env_reset, !setenv, !requiretty, !lecture"
        );
        match sudo {
            SudoRule::Everything(_) => {
                let _ = writeln!(text, "{name} ALL=(ALL:ALL) NOPASSWD: ALL");
            }
            SudoRule::Commands(commands) => {
                for command in commands {
                    let _ = writeln!(text, "{name} ALL=(root) NOPASSWD: {}", exactly(command));
                }
            }
        }
    }
    (!text.is_empty()).then(|| format!("{header}{text}"))
}

/// Returns the command for a rule. A sudoers command without arguments allows any arguments; `""` allows none.
fn exactly(command: &str) -> String {
    if command.contains(' ') {
        command.to_owned()
    } else {
        format!("{command} \"\"")
    }
}
