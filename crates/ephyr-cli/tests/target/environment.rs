//! Environment variables do not affect sealed commands.

use crate::host::{Host, INSIDE, policy};

/// Variables that change which commands bash runs. Under sshd, bash ignores `BASH_ENV`.
const HOSTILE: [(&str, &str); 3] = [
    ("BASH_FUNC_uptime%%", "() { echo hostile; }"),
    ("BASH_ENV", "/tmp/hostile"),
    ("SHELLOPTS", "xtrace"),
];

/// Starts a host on which the operator's login shell is bash, as is the shell of the role `op`.
fn host_with(lines: &str) -> Option<Host> {
    let host = Host::with_config(lines)?;
    host.ok("usermod --shell /bin/bash ops");
    Some(host)
}

#[test]
fn client_variables_do_not_change_a_sealed_command() {
    for before_the_include in [true, false] {
        let lines = if before_the_include {
            ""
        } else {
            "AcceptEnv *\n"
        };
        let Some(host) = host_with(lines) else { return };
        if before_the_include {
            host.ok("sed -i '1i AcceptEnv *' /etc/ssh/sshd_config");
        }
        host.install(&policy());
        host.certify("web/op", "-O clear -O force-command='uptime; env'");
        let ran = host.ssh_with("agent", "eph-op", "uptime", &HOSTILE);
        assert!(
            ran.out.contains("load average") && ran.out.contains("EPHYR_NONE=none"),
            "{ran:?}"
        );
        assert!(ran.err.is_empty(), "{ran:?}");
        for (name, value) in HOSTILE {
            assert!(
                !ran.out.contains(name) && !ran.out.contains(value),
                "{ran:?}"
            );
        }
        // Without the block they take effect: the operator's login is unchanged.
        let open = host.ssh_with("ops", "ops", "uptime", &HOSTILE);
        assert_eq!(open.out, "hostile\n");
        assert!(open.err.contains("+ uptime"), "{open:?}");
    }
}

#[test]
fn global_setenv_variables_do_not_reach_a_role() {
    let set = "SetEnv FOO=1 \"BASH_FUNC_uptime%%=() { echo hostile; }\"\n";
    let Some(host) = host_with(set) else { return };
    host.install(&policy());
    host.certify("web/op", "-O clear -O force-command='uptime; env'");
    let ran = host.ssh("agent", "eph-op", "uptime");
    assert!(ran.out.contains("load average"), "{ran:?}");
    assert!(
        !ran.out.contains("hostile") && !ran.out.contains("FOO="),
        "{ran:?}"
    );
    assert_eq!(host.ssh("ops", "ops", "uptime").out, "hostile\n");
}

#[test]
fn startup_files_in_the_home_must_be_owned_by_root() {
    let Some(host) = Host::with_config("PermitUserEnvironment yes\n") else {
        return;
    };
    host.install(&policy());
    let home = "/var/lib/ephyr-target/eph-op";
    host.certify(
        "web/op",
        "-O clear -O force-command='mkdir .ssh; echo A=hostile > .ssh/environment; env'",
    );
    let ran = host.ssh("agent", "eph-op", "");
    assert!(!ran.out.contains("hostile"), "{ran:?}");
    host.ok(&format!("[ ! -e {home}/.ssh ]"));
    // A leftover file.
    host.ok(&format!(
        "touch {home}/.bashrc; chown eph-op {home}/.bashrc"
    ));
    let error = host.refused(&policy(), "");
    assert!(error.contains(".bashrc is not root's alone"), "{error}");
    host.ok(&format!("chown root {home}/.bashrc"));
    host.install(&policy());
}

#[test]
fn subsystem_request_runs_the_sealed_command() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    host.certify("web/op", "-O clear -O force-command='echo sealed'");
    let port = host
        .ok("sed -n 's/.*listening on 127.0.0.1 port \\([0-9]*\\).*/\\1/p' /srv/log | head -n 1");
    let ran = host.sh(&format!(
        "ssh -F none -o BatchMode=yes -o IdentityAgent=none -o StrictHostKeyChecking=no -o LogLevel=ERROR \
         -o UserKnownHostsFile=/dev/null -i {INSIDE}/agent -p {} -s eph-op@127.0.0.1 sftp < /dev/null",
        port.trim()
    ));
    assert_eq!(ran.out, "sealed\n", "{ran:?}");
}
