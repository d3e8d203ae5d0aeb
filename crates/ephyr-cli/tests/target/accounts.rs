//! Accounts and files that installation creates, changes and removes, and failures that restore the previous state.

use ephyr_testkit::json;

use crate::host::{Host, INSIDE, policy};

#[test]
fn install_is_idempotent_and_uninstall_removes_everything() {
    let Some(host) = Host::start() else { return };
    let before = host.state();
    host.install(&policy());
    let installed = host.state();
    assert!(installed.len() > before.len());
    let output = host.install(&policy());
    host.assert_state(&installed);
    assert!(!output.contains("made account"), "{output}");
    assert!(!output.contains("usermod"), "{output}");
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    host.reloading(&format!("{INSIDE}/web/uninstall.sh"));
    host.assert_state(&before);
    host.assert_operator();
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 255);
}

#[test]
fn foreign_account_is_refused_and_unchanged() {
    let Some(host) = Host::start() else { return };
    for (create, delete) in [
        (
            "useradd --system --comment Somebody eph-read",
            "userdel eph-read",
        ),
        ("groupadd eph-read", "groupdel eph-read"),
        (
            "useradd --system --comment 'Ephyr role (other)' eph-read",
            "userdel eph-read",
        ),
    ] {
        host.ok(create);
        let before = host.state();
        host.render("web", &policy(), &[]);
        let ran = host.sh(&format!("{INSIDE}/web/install.sh"));
        assert_eq!(ran.code, 1, "{create}");
        assert!(
            ran.err.contains("eph-read") && ran.err.contains("nothing was changed"),
            "{}",
            ran.err
        );
        host.assert_state(&before);
        host.ok(delete);
    }
    host.install(&policy());
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
}

#[test]
fn sshd_without_include_restores_the_previous_state() {
    let Some(host) = Host::start() else { return };
    host.ok("sed -i 's/^Include/#Include/' /etc/ssh/sshd_config");
    let before = host.state();
    host.render("web", &policy(), &[]);
    let ran = host.sh(&format!("{INSIDE}/web/install.sh"));
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("Include /etc/ssh/sshd_config.d/*.conf") && ran.err.contains("put back"),
        "{}",
        ran.err
    );
    host.assert_state(&before);
    host.ok("sed -i 's/^#Include/Include/' /etc/ssh/sshd_config");
    host.install(&policy());
}

#[test]
fn failed_update_restores_the_previous_installation() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    let before = host.state();
    let mut newer = policy();
    newer["roles"]["read"]["shell"] = "/bin/bash".into();
    newer["roles"]["op"]["sudo"] = json!(["/usr/bin/id -g"]);
    newer["roles"]["more"] = json!({"principal": "eph-more"});
    newer["targets"]["web"]["allowed_roles"] = json!(["read", "op", "more"]);
    host.render("web", &newer, &[]);
    let snippet = format!("{INSIDE}/web/files/etc/ssh/sshd_config.d/50-ephyr-ephyr.conf");
    host.ok(&format!(
        "cp {snippet} /tmp/good; echo Nonsense >> {snippet}"
    ));
    let ran = host.sh(&format!("{INSIDE}/web/install.sh"));
    assert!(ran.code == 1 && ran.err.contains("put back"), "{}", ran.err);
    host.assert_state(&before);
    host.ok(&format!("cp /tmp/good {snippet}; {INSIDE}/web/install.sh"));
    let accounts = host.ok("getent passwd eph-read eph-more | cut -d : -f 1,7");
    assert!(
        accounts.starts_with("eph-read:/bin/bash\neph-more:"),
        "{accounts}"
    );
}

#[test]
fn preexisting_faults_are_reported_and_nothing_is_changed() {
    let Some(host) = Host::start() else { return };
    host.render("web", &policy(), &[]);
    let install = format!("{INSIDE}/web/install.sh");
    let rules = format!("{INSIDE}/web/files/etc/sudoers.d/ephyr-ephyr");
    let accounts = format!("{INSIDE}/web/accounts");
    for (breaks, cause, repairs) in [
        (
            "echo Nonsense >> /etc/ssh/sshd_config".to_owned(),
            "present configuration is not valid",
            "sed -i '$d' /etc/ssh/sshd_config".to_owned(),
        ),
        (
            format!("cp {rules} /tmp/rules; echo 'eph-op ALL=(' >> {rules}"),
            "sudo does not accept its rules",
            format!("cp /tmp/rules {rules}"),
        ),
        (
            // A valid name of a shell, but the file is another program.
            format!("ln -s /usr/bin/env /tmp/bash; sed -i 's|/bin/sh$|/tmp/bash|' {accounts}"),
            "/usr/bin/env, which is not known to run sealed commands",
            "ln -sf /bin/dash /tmp/bash".to_owned(),
        ),
    ] {
        host.ok(&breaks);
        let before = host.state();
        let ran = host.sh(&install);
        assert!(ran.code == 1 && ran.err.contains(cause), "{}", ran.err);
        host.assert_state(&before);
        host.ok(&repairs);
    }
    host.ok(&install);
}

#[test]
fn block_that_affects_other_accounts_is_removed_again() {
    let Some(host) = Host::start() else { return };
    host.render("web", &policy(), &[]);
    let before = host.state();
    let snippet = format!("{INSIDE}/web/files/etc/ssh/sshd_config.d/50-ephyr-ephyr.conf");
    host.ok(&format!(
        "cp {snippet} /tmp/good; echo 'PermitTTY no' >> {snippet}"
    ));
    let ran = host.sh(&format!("{INSIDE}/web/install.sh"));
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("other accounts differently"),
        "{}",
        ran.err
    );
    host.assert_state(&before);
    host.ok(&format!("echo Nonsense > {snippet}"));
    let ran = host.sh(&format!("{INSIDE}/web/install.sh"));
    assert!(
        ran.code == 1 && ran.err.contains("does not accept"),
        "{}",
        ran.err
    );
    host.assert_state(&before);
    host.ok(&format!("cp /tmp/good {snippet}; {INSIDE}/web/install.sh"));
}

#[test]
fn accounts_have_root_owned_homes_and_no_password_or_timers() {
    let Some(host) = Host::start() else { return };
    // A system where passwords expire tomorrow.
    host.ok("sed -i 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 1/' /etc/login.defs; echo eph-none > /etc/at.deny");
    let mut policy = policy();
    policy["roles"]["read"]["system"] = json!(false);
    host.install(&policy);
    let fields = host.ok("getent shadow eph-read eph-op | cut -d : -f 2,4-");
    assert_eq!(fields, "*::::::\n*::::::\n");
    let homes = host.ok("stat -c '%U %a' /var/lib/ephyr-target /var/lib/ephyr-target/eph-*");
    assert_eq!(homes, "root 755\n".repeat(3));
    host.ok("[ $(id -u eph-read) -ge 1000 ]; [ $(id -u eph-op) -lt 1000 ]; ! grep eph- /etc/subuid /etc/subgid");
    assert_eq!(host.ok("sort /etc/cron.deny"), "eph-op\neph-read\n");
    assert_eq!(host.ok("sort /etc/at.deny"), "eph-none\neph-op\neph-read\n");
    // Simulates a password that was last changed long ago.
    host.ok("chage --lastday 1000 eph-read");
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    let ran = host.login("web/read", "eph-read", "touch .bashrc");
    assert!(ran.code != 0 && ran.err.contains("denied"), "{}", ran.err);
}

#[test]
fn removed_role_loses_its_account_files_and_processes() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    assert_eq!(host.login("web/op", "eph-op", "touch /tmp/of-op").code, 0);
    assert_eq!(
        host.login("web/read", "eph-read", "touch /tmp/of-read")
            .code,
        0
    );
    let sleep = "nohup sleep 3210 > /dev/null 2>&1 & echo";
    assert_eq!(host.login("web/op", "eph-op", sleep).code, 0);
    assert_eq!(host.login("web/read", "eph-read", sleep).code, 0);
    assert_eq!(host.ok("pgrep -fc '^sleep 3210'"), "2\n");
    let mut policy = policy();
    policy["targets"]["web"]["allowed_roles"] = json!(["read"]);
    host.install(&policy);
    host.ok(
        "! getent passwd eph-op; ! getent group eph-op; [ ! -e /tmp/of-op ]; [ -e /tmp/of-read ]",
    );
    host.ok("[ ! -e /etc/sudoers.d/ephyr-ephyr ]; [ ! -e /var/lib/ephyr-target/eph-op ]");
    assert_eq!(host.ok("pgrep -fc '^sleep 3210'"), "1\n");
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    assert_eq!(host.login("web/op", "eph-op", "id -un").code, 255);
}

#[test]
fn two_appliances_share_a_target_with_separate_accounts() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    let first = host.state();
    let mut other = policy();
    other["roles"]["read"]["principal"] = json!("two-read");
    other["roles"]["op"]["principal"] = json!("two-op");
    host.render("other", &other, &["--authority", "two"]);
    host.reloading(&format!("{INSIDE}/other/install.sh"));
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    assert_eq!(host.login("web/read", "two-read", "id -un").code, 0);
    host.reloading(&format!("{INSIDE}/other/uninstall.sh"));
    host.assert_state(&first);
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
}

#[test]
fn w39_strict_umask_does_not_affect_file_modes() {
    let Some(host) = Host::start() else { return };
    host.render("web", &policy(), &[]);
    host.reloading(&format!(
        "umask 077; cp -r {INSIDE}/web /tmp/web; /tmp/web/install.sh"
    ));
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    // sshd reads this directory as the role account.
    host.ok("chmod 700 /etc/ssh/ephyr/ephyr/principals");
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 255);
    host.install(&policy());
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
}
