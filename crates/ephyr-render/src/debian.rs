//! The files for a target host without Nix: a directory to copy to the host, with the scripts that install and
//! uninstall it.

use std::fmt::Write as _;

use ephyr_policy::SEALED_SHELLS;

use crate::host::{HostAccount, HostFile, STATE, TargetHost};

const LIB: &str = include_str!("debian/lib.sh");
const SSHD: &str = include_str!("debian/sshd.sh");
const RULES: &str = include_str!("debian/rules.sh");
const CHECK: &str = include_str!("debian/check.sh");
const INSTALL: &str = include_str!("debian/install.sh");
const UNINSTALL: &str = include_str!("debian/uninstall.sh");

/// Returns the files of the directory, with relative paths: `install.sh`, `uninstall.sh`, `check.sh`, the files they
/// share, and the host's files below `files/`.
#[must_use]
pub fn debian_tree(host: &TargetHost) -> Vec<HostFile> {
    let file = |path: &str, mode, content: String| HostFile {
        path: path.to_owned(),
        mode,
        content,
        keep: false,
    };
    let mut tree = vec![
        file("accounts", "0644", accounts(host)),
        file("target.sh", "0644", variables(host)),
        file("lib.sh", "0644", LIB.to_owned()),
        file("sshd.sh", "0644", SSHD.to_owned()),
        file("rules.sh", "0644", RULES.to_owned()),
        file("check.sh", "0755", CHECK.to_owned()),
        file("install.sh", "0755", INSTALL.to_owned()),
        file("uninstall.sh", "0755", UNINSTALL.to_owned()),
    ];
    tree.extend(host.files.iter().map(|it| HostFile {
        path: format!("files{}", it.path),
        keep: false,
        ..it.clone()
    }));
    tree
}

/// Returns a line `name system home shell` for each account that the script creates.
fn accounts(host: &TargetHost) -> String {
    let mut text = String::new();
    for account in host.accounts.iter().filter(|account| !account.is_root()) {
        let (name, system) = (&account.name, account.system);
        let _ = writeln!(text, "{name} {system} {} {}", account.home, account.shell);
    }
    text
}

/// Returns the shell variables of the scripts. Names contain no quotes, so single quotes are enough.
fn variables(host: &TargetHost) -> String {
    let root = host.accounts.iter().any(HostAccount::is_root);
    let sources: Vec<String> = host.sources.iter().map(ToString::to_string).collect();
    format!(
        "target='{}'\nauthority='{}'\nstate='{}'\n# Accounts that roles share with the operator.\nshared='{}'\n\
         # The policy's source addresses of the appliance, and the port of this target.\n\
         sources='{}'\nport='{}'\n\
         # Names of shells that run sealed commands.\nshells='{}'\n",
        host.target,
        host.authority,
        STATE,
        if root { "root" } else { "" },
        sources.join(" "),
        host.port,
        SEALED_SHELLS.join(" "),
    )
}
