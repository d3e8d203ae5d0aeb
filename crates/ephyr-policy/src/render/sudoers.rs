//! What sudo is told: positive rules alone, each with exactly its arguments.

use std::fmt::Write as _;

use super::target::{HostAccount, SudoRule};

/// The rules; `None` where no account may do anything as root.
pub(super) fn rules(header: &str, accounts: &[HostAccount]) -> Option<String> {
    let mut text = String::new();
    for account in accounts.iter().filter(|account| !account.is_root()) {
        let Some(sudo) = &account.sudo else { continue };
        let name = &account.name;
        // Agents have no terminal; what they hand over in the environment stays outside.
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

/// To sudoers a command without arguments is one with any; `""` says that there are none.
fn exactly(command: &str) -> String {
    if command.contains(' ') {
        command.to_owned()
    } else {
        format!("{command} \"\"")
    }
}
