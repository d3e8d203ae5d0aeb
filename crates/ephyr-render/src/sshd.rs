//! The sshd configuration. All of it is inside `Match User`, so it does not affect other accounts.

use std::fmt::Write as _;

use crate::host::{HostAccount, Paths};

/// Returns the configuration file. sshd uses the first value of each keyword among the matching blocks, so the blocks
/// that permit something to a role come first.
pub(crate) fn snippet(header: &str, accounts: &[HostAccount], paths: &Paths) -> String {
    let mut text = header.to_owned();
    text.push_str("# Other accounts are as they were: all of it stands inside Match.\n");
    let (root, own): (Vec<_>, Vec<_>) = accounts.iter().partition(|account| account.is_root());
    for account in &own {
        text.push_str(&permitted(account));
    }
    if !own.is_empty() {
        let names: Vec<&str> = own.iter().map(|account| account.name.as_str()).collect();
        let _ = write!(text, "\nMatch User {}\n", names.join(","));
        text.push_str(&trust(paths));
        text.push_str(CLOSED);
    }
    if !root.is_empty() {
        text.push_str(
            "\n# A role is root itself: certificates open it too, and the operator's ways in stay.\n\
             Match User root\n",
        );
        text.push_str(&trust(paths));
    }
    // Ends the last block: directives after this file, or after its `Include`, apply to all accounts again.
    text.push_str("\nMatch all\n");
    text
}

fn trust(paths: &Paths) -> String {
    let Paths { own, revoked, .. } = paths;
    format!(
        "    TrustedUserCAKeys {own}/ca.pub\n    \
         AuthorizedPrincipalsFile {own}/principals/%u\n    \
         RevokedKeys {revoked}\n"
    )
}

/// The directives for role accounts: only certificates of this CA, only the certificate's command, no forwarding, and
/// no client environment that could change what the command does. The certificate has the same restrictions except for
/// the environment, for which certificates have no option: only this block enforces it.
///
/// Every keyword here is known to OpenSSH 9.2. `docs/targets.md` has a table of the keywords that are left out.
const CLOSED: &str = "    \
    # Variables of the client (BASH_FUNC_ls%%, BASH_ENV, ZDOTDIR) would change what a sealed command runs.
    # Inside Match these lists replace the global ones; they cannot be empty, so they name what nothing reads.
    AcceptEnv EPHYR_NONE
    SetEnv EPHYR_NONE=none
    ChrootDirectory none
    AuthorizedPrincipalsCommand none
    AuthorizedKeysFile none
    AuthorizedKeysCommand none
    CASignatureAlgorithms ssh-ed25519
    PubkeyAuthentication yes
    PubkeyAcceptedAlgorithms ssh-ed25519-cert-v01@openssh.com
    AuthenticationMethods publickey
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    HostbasedAuthentication no
    PermitEmptyPasswords no
    # The certificate's own command counts.
    ForceCommand none
    PermitTTY no
    AllowTcpForwarding no
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    GatewayPorts no
    PermitUserRC no
    # What a broken connection left behind ends within a minute.
    ClientAliveInterval 15
    ClientAliveCountMax 3
";

/// Returns the block of what a role permits; empty if nothing.
fn permitted(account: &HostAccount) -> String {
    let rights = account.rights;
    let lines = [
        (rights.pty, "PermitTTY"),
        (rights.port_forwarding, "AllowTcpForwarding"),
        (rights.agent_forwarding, "AllowAgentForwarding"),
    ];
    let mut text = String::new();
    for (_, keyword) in lines.iter().filter(|(permitted, _)| *permitted) {
        if text.is_empty() {
            let _ = write!(
                text,
                "\n# The role {} says so.\nMatch User {}\n",
                account.role, account.name
            );
        }
        let _ = writeln!(text, "    {keyword} yes");
    }
    text
}
