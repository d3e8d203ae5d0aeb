//! Who gets in and who does not.

use ephyr_testkit::json;

use crate::host::{Host, INSIDE, policy};

#[test]
fn a_certificate_for_target_and_role_opens_its_account_and_no_other() {
    let Some(host) = Host::start() else { return };
    host.assert_operator();
    assert_ne!(host.login("web/read", "eph-read", "id -un").code, 0);
    host.install(&policy());
    let ran = host.login("web/read", "eph-read", "id -un; pwd");
    assert_eq!(
        ran.out, "eph-read\n/var/lib/ephyr-target/eph-read\n",
        "{}",
        ran.err
    );
    assert_eq!(host.login("web/op", "eph-op", "id -un").out, "eph-op\n");
    // Of another host, of another role, and by the account's own name.
    for principal in ["db/read", "web/op", "eph-read", "read"] {
        let ran = host.login(principal, "eph-read", "id -un");
        assert_eq!((ran.code, ran.out.as_str()), (255, ""), "{principal}");
    }
    host.assert_operator();
    // A certificate opens no account but the roles'.
    assert_eq!(host.login("web/read,ops,root", "ops", "id -un").code, 255);
}

#[test]
fn a_sealed_certificate_runs_its_command_and_nothing_else_is_open() {
    // What the operator forces on everybody else must not take the sealed command's place.
    let Some(host) = Host::with_config("ForceCommand echo everybody\n") else {
        return;
    };
    host.install(&policy());
    host.certify("web/read", "-O clear -O force-command='echo sealed'");
    assert_eq!(host.ssh("agent", "eph-read", "echo other").out, "sealed\n");
    assert_eq!(host.ssh("ops", "ops", "echo other").out, "everybody\n");
    let config = host.ok("sshd -T -C user=eph-read,host=h,addr=127.0.0.1");
    for line in [
        "permittty no",
        "allowtcpforwarding no",
        "allowstreamlocalforwarding no",
        "allowagentforwarding no",
        "x11forwarding no",
        "permituserrc no",
        "authorizedkeysfile none",
        "authenticationmethods publickey",
        "clientaliveinterval 15",
    ] {
        assert!(
            config.lines().any(|it| it == line),
            "no `{line}` in\n{config}"
        );
    }
    let others = host.ok("sshd -T -C user=ops,host=h,addr=127.0.0.1");
    assert!(others.contains("permittty yes") && others.contains("trustedusercakeys none"));
}

#[test]
fn only_certificates_open_a_role_account_not_keys_of_its_own() {
    let Some(host) = Host::with_config("AuthorizedKeysFile /etc/keys/%u\n") else {
        return;
    };
    host.reloading(&format!(
        "mkdir /etc/keys; cp {INSIDE}/ops.pub /etc/keys/ops; cp {INSIDE}/ops.pub /etc/keys/eph-read; \
         kill -HUP $(cat /run/sshd.pid)"
    ));
    host.install(&policy());
    host.assert_operator();
    assert_eq!(host.ssh("ops", "eph-read", "id").code, 255);
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
}

#[test]
fn what_a_role_opens_is_open_for_it_alone() {
    let Some(host) = Host::start() else { return };
    let mut policy = policy();
    policy["roles"]["op"]["pty"] = json!(true);
    policy["roles"]["op"]["port_forwarding"] = json!(true);
    host.install(&policy);
    let config = |user| host.ok(&format!("sshd -T -C user={user},host=h,addr=127.0.0.1"));
    let (op, read) = (config("eph-op"), config("eph-read"));
    assert!(op.contains("permittty yes") && op.contains("allowtcpforwarding yes"));
    assert!(op.contains("allowagentforwarding no") && op.contains("authorizedkeysfile none"));
    assert!(read.contains("permittty no") && read.contains("allowtcpforwarding no"));
}

#[test]
fn w38_sudo_allows_exactly_the_commands_that_are_listed() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    host.ok("visudo -cq; [ $(stat -c %a%U /etc/sudoers.d/ephyr-ephyr) = 440root ]");
    let sudo = |principal, account, command: &str| {
        host.login(principal, account, &format!("sudo -n {command}"))
    };
    assert_eq!(sudo("web/op", "eph-op", "/usr/bin/id -u").out, "0\n");
    assert_eq!(sudo("web/op", "eph-op", "/usr/bin/whoami").out, "root\n");
    for command in [
        "/usr/bin/id",
        "/usr/bin/id -u -n",
        "/usr/bin/whoami --version",
        "/bin/sh -c id",
    ] {
        let ran = sudo("web/op", "eph-op", command);
        assert!(ran.code != 0 && ran.out.is_empty(), "{command}: {ran:?}");
    }
    let ran = sudo("web/read", "eph-read", "/usr/bin/id -u");
    assert!(ran.code != 0 && ran.out.is_empty(), "{ran:?}");
}

#[test]
fn w38_a_match_block_at_the_end_of_sshd_config_changes_nothing_and_is_not_changed() {
    let Some(host) = Host::with_config("Match User ops\n    X11Forwarding no\n    PermitTTY no\n")
    else {
        return;
    };
    let others = || {
        ["ops", "root", "daemon"]
            .map(|user| host.ok(&format!("sshd -T -C user={user},host=h,addr=127.0.0.1")))
    };
    let before = others();
    host.install(&policy());
    assert_eq!(others(), before);
    assert_eq!(
        host.login("web/read", "eph-read", "id -un").out,
        "eph-read\n"
    );
    // And the directives of a file that is read after ours are still for everybody.
    host.ok("echo 'PermitTTY no' > /etc/ssh/sshd_config.d/99-later.conf");
    assert!(
        host.ok("sshd -T -C user=root,host=h,addr=127.0.0.1")
            .contains("permittty no")
    );
}

#[test]
fn a_revoked_certificate_is_refused_and_installing_again_forgets_no_revocation() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    host.ok(&format!(
        "echo 'serial: 7' > /tmp/spec; ssh-keygen -q -k -f /tmp/krl -s {INSIDE}/ca.pub /tmp/spec; \
         mv /tmp/krl /var/lib/ephyr-target/ephyr.revoked_keys"
    ));
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 255);
    host.install(&policy());
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 255);
    host.ok(&format!(
        "ssh-keygen -q -s {INSIDE}/ca -I other -z 8 -n web/read {INSIDE}/agent.pub"
    ));
    assert_eq!(host.ssh("agent", "eph-read", "id -un").code, 0);
    // Without the list nobody is let in: a list that is lost revokes all.
    host.ok("rm /var/lib/ephyr-target/ephyr.revoked_keys");
    assert_eq!(host.ssh("agent", "eph-read", "id -un").code, 255);
}

#[test]
fn every_key_of_the_ca_file_is_accepted_so_that_keys_can_be_replaced() {
    let Some(host) = Host::start() else { return };
    host.ok(&format!(
        "cd {INSIDE}; mv ca old; mv ca.pub old.pub; ssh-keygen -q -t ed25519 -N '' -f ca; \
         cp ca.pub new.pub; cat old.pub >> ca.pub"
    ));
    host.install(&policy());
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    host.ok(&format!("cd {INSIDE}; cp ca new; cp old ca"));
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    host.ok(&format!("cp {INSIDE}/new.pub {INSIDE}/ca.pub"));
    host.install(&policy());
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 255);
}

#[test]
fn a_role_that_is_root_leaves_the_operators_own_way_to_root() {
    let Some(host) = Host::start() else { return };
    host.ok(&format!(
        "mount -t tmpfs -o mode=700 none /root; mkdir -m 700 /root/.ssh; cp {INSIDE}/ops.pub /root/.ssh/authorized_keys"
    ));
    let mut policy = policy();
    policy["roles"]["op"] = json!({"principal": "root", "allow_root_equivalent": true});
    host.install(&policy);
    assert_eq!(host.login("web/op", "root", "id -un").out, "root\n");
    assert_eq!(host.ssh("ops", "root", "id -un").out, "root\n");
    assert_eq!(host.login("web/read", "root", "id -un").code, 255);
    host.reloading(&format!("{INSIDE}/web/uninstall.sh"));
    assert_eq!(host.login("web/op", "root", "id -un").code, 255);
    assert_eq!(host.ssh("ops", "root", "id -un").out, "root\n");
}
