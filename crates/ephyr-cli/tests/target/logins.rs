//! Logins that sshd accepts or refuses, and commands that sudo allows.

use ephyr_testkit::json;

use crate::host::{Host, INSIDE, policy};

#[test]
fn certificate_opens_only_the_account_of_its_target_and_role() {
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
    // The principal of another target, of another role, and the name of the account.
    for principal in ["db/read", "web/op", "eph-read", "read"] {
        let ran = host.login(principal, "eph-read", "id -un");
        assert_eq!((ran.code, ran.out.as_str()), (255, ""), "{principal}");
    }
    host.assert_operator();
    // A certificate opens only role accounts.
    assert_eq!(host.login("web/read,ops,root", "ops", "id -un").code, 255);
}

#[test]
fn sealed_certificate_runs_only_its_command() {
    // A global ForceCommand of the operator must not replace the sealed command.
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
fn role_account_refuses_authorized_keys() {
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
fn pty_and_forwarding_are_enabled_only_for_their_role() {
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
fn w38_sudo_allows_exactly_the_listed_commands() {
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
fn w38_match_block_at_the_end_of_sshd_config_is_unaffected() {
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
    // The directives of a file that is read after ours still apply to all users.
    host.ok("echo 'PermitTTY no' > /etc/ssh/sshd_config.d/99-later.conf");
    assert!(
        host.ok("sshd -T -C user=root,host=h,addr=127.0.0.1")
            .contains("permittty no")
    );
}

#[test]
fn revocations_are_enforced_and_survive_reinstallation() {
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
    // sshd fails closed: if the revocation list is missing, it refuses every certificate.
    host.ok("rm /var/lib/ephyr-target/ephyr.revoked_keys");
    assert_eq!(host.ssh("agent", "eph-read", "id -un").code, 255);
}

#[test]
fn every_key_in_the_ca_file_is_accepted_for_rotation() {
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
fn role_with_the_root_account_keeps_the_operators_root_login() {
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
