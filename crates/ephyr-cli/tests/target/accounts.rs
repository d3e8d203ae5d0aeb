//! What is made on the host, what is left alone, and what is left behind.

use ephyr_testkit::json;

use crate::host::{Host, INSIDE, policy};

#[test]
fn installing_twice_changes_nothing_and_uninstalling_leaves_nothing() {
    let Some(host) = Host::start() else { return };
    let before = host.state();
    host.install(&policy());
    let installed = host.state();
    assert!(installed.len() > before.len());
    let said = host.install(&policy());
    host.assert_state(&installed);
    assert!(!said.contains("made account"), "{said}");
    assert!(!said.contains("usermod"), "{said}");
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    host.reloading(&format!("{INSIDE}/web/uninstall.sh"));
    host.assert_state(&before);
    host.assert_operator();
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 255);
}

#[test]
fn an_account_that_ephyr_did_not_make_is_refused_and_left_alone() {
    let Some(host) = Host::start() else { return };
    for (make, unmake) in [
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
        host.ok(make);
        let before = host.state();
        host.render("web", &policy(), &[]);
        let ran = host.sh(&format!("{INSIDE}/web/install.sh"));
        assert_eq!(ran.code, 1, "{make}");
        assert!(
            ran.err.contains("eph-read") && ran.err.contains("nothing was changed"),
            "{}",
            ran.err
        );
        host.assert_state(&before);
        host.ok(unmake);
    }
    host.install(&policy());
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
}

#[test]
fn when_sshd_does_not_read_the_file_all_is_put_back() {
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
fn an_update_that_fails_leaves_everything_as_the_one_before_made_it() {
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
fn what_is_wrong_beforehand_is_said_and_nothing_is_changed() {
    let Some(host) = Host::start() else { return };
    host.render("web", &policy(), &[]);
    let install = format!("{INSIDE}/web/install.sh");
    let rules = format!("{INSIDE}/web/files/etc/sudoers.d/ephyr-ephyr");
    let accounts = format!("{INSIDE}/web/accounts");
    for (breaks, says, mends) in [
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
            // A valid shell name whose file is not a shell.
            format!("ln -s /usr/bin/env /tmp/bash; sed -i 's|/bin/sh$|/tmp/bash|' {accounts}"),
            "/usr/bin/env, which is not known to run sealed commands",
            "ln -sf /bin/dash /tmp/bash".to_owned(),
        ),
    ] {
        host.ok(&breaks);
        let before = host.state();
        let ran = host.sh(&install);
        assert!(ran.code == 1 && ran.err.contains(says), "{}", ran.err);
        host.assert_state(&before);
        host.ok(&mends);
    }
    host.ok(&install);
}

#[test]
fn what_would_change_another_account_is_put_back() {
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
fn accounts_have_root_owned_homes_no_password_no_expiry_and_no_timers() {
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
    // As after a year.
    host.ok("chage --lastday 1000 eph-read");
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    let ran = host.login("web/read", "eph-read", "touch .bashrc");
    assert!(ran.code != 0 && ran.err.contains("denied"), "{}", ran.err);
}

#[test]
fn a_role_that_the_target_no_longer_allows_loses_its_account_and_what_its_user_left() {
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
fn two_appliances_have_accounts_of_their_own_on_one_target() {
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
fn w39_under_a_strict_umask_all_can_still_be_read_by_whom_it_is_for() {
    let Some(host) = Host::start() else { return };
    host.render("web", &policy(), &[]);
    host.reloading(&format!(
        "umask 077; cp -r {INSIDE}/web /tmp/web; /tmp/web/install.sh"
    ));
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
    // sshd reads it as the account itself.
    host.ok("chmod 700 /etc/ssh/ephyr/ephyr/principals");
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 255);
    host.install(&policy());
    assert_eq!(host.login("web/read", "eph-read", "id -un").code, 0);
}
