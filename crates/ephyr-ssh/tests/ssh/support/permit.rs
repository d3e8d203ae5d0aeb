//! Permits, which only a policy's decision makes.

use ephyr_names::Timestamp;
use ephyr_policy::{
    Action, Decision, Ledger, Permit, Purpose, SshAction, Subject, Switches, authorize, load,
};

/// What the policy says about the target's host key.
pub(crate) enum Pin {
    Key(String),
    Fingerprint(String),
    None,
}

/// A permit to run the command as the account on a loopback port.
pub(crate) fn permit(port: u16, account: &str, pin: &Pin, command: &str) -> Permit {
    let (strict, host_key) = match pin {
        Pin::Key(line) => (true, format!("host_key: {line}")),
        Pin::Fingerprint(print) => (true, format!("host_key_fingerprint: {print}")),
        Pin::None => (false, String::new()),
    };
    let root = match account {
        "root" => "allow_root_equivalent: true",
        _ => "",
    };
    let source = format!(
        "global:\n  host_key_strict: {strict}\n\
         roles:\n  op:\n    principal: {account}\n    {root}\n\
         targets:\n  web:\n    host: 127.0.0.1\n    port: {port}\n    allowed_roles: [op]\n    \
         auto_approve: true\n    {host_key}\n\
         agents:\n  agent:\n    uid: 64100\n    ssh:\n      web:\n        roles: [op]\n"
    );
    let policy = load(source.as_bytes(), "lab.yaml").unwrap_or_else(|wrong| {
        panic!("the lab's policy: {wrong:?}\n{source}");
    });
    let action = Action::Ssh(SshAction {
        target: "web".parse().unwrap(),
        role: "op".parse().unwrap(),
        purpose: Purpose::Exec {
            command: command.to_owned(),
            stdin_digest: None,
        },
        ttl: None,
    });
    let decision = authorize(
        &policy,
        &Switches::default(),
        &mut Ledger::new(),
        &Subject::direct("agent".parse().unwrap()),
        &action,
        Timestamp::from_unix_seconds(1_800_000_000),
    );
    match decision {
        Decision::Permit(permit) => permit,
        Decision::Denied(denial) => panic!("the lab's policy denies: {denial:?}"),
    }
}
