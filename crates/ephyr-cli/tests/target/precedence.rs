//! sshd configuration before or after the block for role accounts: either our block stays in force, or nothing
//! is installed.

use ephyr_testkit::{Value, json};

use crate::host::{Host, INSIDE, policy};

const EARLY: &str = "/etc/ssh/sshd_config.d/10-local.conf";
const LATE: &str = "/etc/ssh/sshd_config.d/60-local.conf";

fn from(sources: &[&str]) -> Value {
    let mut policy = policy();
    policy["targets"]["web"]["source_address"] = json!(sources);
    policy
}

#[test]
fn a_block_that_takes_the_place_of_ours_is_refused_by_its_line() {
    let Some(host) = Host::start() else { return };
    let early = "Match Address 127.0.0.0/8\n  ForceCommand /bin/echo hi\n";
    host.configure(EARLY, early);
    let said = host.refused(&policy(), "");
    assert!(said.contains("10-local.conf:2: ForceCommand"), "{said}");
    host.ok(&format!("rm {EARLY}"));
    host.install(&policy());
    host.configure(
        "/etc/ssh/more",
        "PermitTTY no\nMatch Group eph-read\n  SetEnv A=b # c\n",
    );
    for (file, text, place) in [
        (
            EARLY,
            "Match Address 127.0.0.0/8\n  ForceCommand /bin/echo hi\n",
            "10-local.conf:2: ForceCommand",
        ),
        (
            EARLY,
            "Match Address ::1\n\n  ForceCommand /bin/echo hi\n",
            "10-local.conf:3: ForceCommand",
        ),
        (
            EARLY,
            "Match all\n  ChrootDirectory /srv\n",
            "10-local.conf:2: ChrootDirectory",
        ),
        (
            EARLY,
            "match user=\"eph-*\"\n  permittty=yes\n",
            "10-local.conf:2: permittty",
        ),
        (
            EARLY,
            "Match User eph-op\n  PubkeyAcceptedKeyTypes ssh-ed25519\n",
            "10-local.conf:2: PubkeyAcceptedKeyTypes",
        ),
        (EARLY, "Include /etc/ssh/mor?\n", "/etc/ssh/more:3: SetEnv"),
        (
            EARLY,
            "Match Address 127.0.0.1\n  Include more\n",
            "/etc/ssh/more:3: SetEnv",
        ),
        // Lists are merged in any order.
        (
            LATE,
            "Match User eph-*\n  AcceptEnv X\n",
            "60-local.conf:2: AcceptEnv",
        ),
        // For other addresses than the queried ones.
        (
            EARLY,
            "Match Address 10.0.0.0/8\n  ForceCommand /bin/echo hi\n",
            "10-local.conf:2: ForceCommand",
        ),
        (
            EARLY,
            "Match Host *.example.org User eph-*\n  PermitTTY yes\n",
            "10-local.conf:2: PermitTTY",
        ),
        (
            EARLY,
            "Match LocalPort 22\n  PasswordAuthentication yes\n",
            "10-local.conf:2: PasswordAuthentication",
        ),
        (
            LATE,
            "Match LocalAddress 10.0.0.1\n  AcceptEnv *\n",
            "60-local.conf:2: AcceptEnv",
        ),
    ] {
        host.configure(file, text);
        let said = host.complaint("");
        assert!(said.contains(place), "{text}\n{said}");
        host.ok(&format!("rm {file}"));
    }
    assert_eq!(
        host.login("web/read", "eph-read", "id -un").out,
        "eph-read\n"
    );
}

#[test]
fn blocks_that_change_nothing_for_a_role_are_accepted() {
    let Some(host) = Host::start() else { return };
    host.configure(
        EARLY,
        "Match User ops Address 127.0.0.0/8\n  SetEnv A=b\n\
         Match Address 10.0.0.0/8\n  PermitTTY no\n  X11DisplayOffset 20\n  MaxSessions 3\n\
         Match Group sftponly LocalPort 22\n  ForceCommand internal-sftp\n\
         Match Address 10.0.0.0/8 User \"*,!eph-*\"\n  ForceCommand /bin/echo hi\n",
    );
    host.configure(LATE, "Match all\n  ForceCommand /bin/echo hi\n");
    host.install(&policy());
    assert_eq!(
        host.login("web/read", "eph-read", "id -un").out,
        "eph-read\n"
    );
    assert_eq!(host.ssh("ops", "ops", "id -un").out, "hi\n");
}

#[test]
fn blocks_count_for_the_addresses_that_the_appliance_comes_from() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    let of = |network: &str| format!("Match Address {network}\n  ForceCommand /bin/echo hi\n");
    for (sources, arguments, network) in [
        (&["10.0.0.7/32"][..], "", "10.0.0.0/24"),
        (&["192.0.2.1/32", "10.0.0.0/8"], "", "10.9.0.0/16"),
        (&["10.9.0.0/16"], "", "10.0.0.0/8"),
        (&["2001:db8::/32"], "", "2001:db8:1::/48"),
        (&["192.0.2.1/32"], "--from 10.0.0.7", "10.0.0.*"),
        (&["10.0.0.0/8"], "", "172.16.*"),
    ] {
        host.configure(EARLY, &of(network));
        host.render("web", &from(sources), &[]);
        let said = host.complaint(arguments);
        assert!(said.contains("10-local.conf:2: ForceCommand"), "{said}");
    }
    for (sources, arguments, network) in [
        (&["10.0.0.7/32"][..], "", "10.0.0.8,172.16.*"),
        (&["10.0.0.0/8"], "", "172.16.0.0/12"),
        (&[], "--from 192.0.2.1 --from 2001:db8::1", "10.0.0.*"),
    ] {
        host.configure(EARLY, &of(network));
        host.render("web", &from(sources), &[]);
        host.ok(&format!("{INSIDE}/web/check.sh {arguments}"));
    }
    host.configure(EARLY, "");
    let ran = host.sh(&format!("{INSIDE}/web/install.sh --from web.example"));
    assert!(
        ran.code == 1 && ran.err.contains("not an IP address"),
        "{}",
        ran.err
    );
}

#[test]
fn a_role_that_sshd_would_not_let_in_is_not_installed() {
    let Some(host) = Host::start() else { return };
    host.configure(EARLY, "AllowUsers ops\n");
    let said = host.refused(&policy(), "");
    assert!(said.contains("allowusers does not name it"), "{said}");
    host.configure(EARLY, "");
    host.install(&from(&["192.0.2.7/32"]));
    let block = |line: &str| format!("Match User eph-*\n  {line}\n");
    for (text, says) in [
        ("DenyUsers eph-*\n".to_owned(), "denyusers names it"),
        ("AllowUsers ops\n".to_owned(), "allowusers does not name it"),
        (
            "AllowUsers ops *@10.0.0.0/8\n".to_owned(),
            "10-local.conf:1: AllowUsers",
        ),
        ("DenyGroups x eph-read\n".to_owned(), "denygroups names it"),
        (
            "AllowGroups sudo\n".to_owned(),
            "allowgroups does not name it",
        ),
        ("MaxSessions 0\n".to_owned(), "10-local.conf:1: MaxSessions"),
        (block("MaxSessions 0"), "10-local.conf:2: MaxSessions"),
        (
            block("PubkeyAuthentication no"),
            "10-local.conf:2: PubkeyAuthentication",
        ),
        (
            block("CASignatureAlgorithms rsa-sha2-512"),
            "10-local.conf:2: CASignatureAlgorithms",
        ),
        (
            "Match Address 192.0.2.0/24\n  DenyUsers eph-*\n".to_owned(),
            "10-local.conf:2: DenyUsers",
        ),
    ] {
        host.configure(EARLY, &text);
        let said = host.complaint("");
        assert!(said.contains(says), "{text}\n{said}");
    }
    // The block itself overrides global settings, and lists may include the role.
    host.configure(
        EARLY,
        "PubkeyAuthentication no\nCASignatureAlgorithms rsa-sha2-512\nAuthenticationMethods password\n\
         AllowUsers ops eph-*@192.0.2.0/24 eph-*@127.0.0.1\nAllowGroups ops eph-op eph-read\n\
         DenyUsers eph-*@203.0.113.0/24\n",
    );
    host.install(&from(&["192.0.2.7/32"]));
    let ran = host.login("web/read", "eph-read", "id -un");
    assert_eq!(ran.out, "eph-read\n", "{}", ran.err);
}

#[test]
fn what_a_role_shares_with_root_must_run_as_it_is_sealed() {
    let Some(host) = Host::start() else { return };
    let mut policy = policy();
    policy["roles"]["op"] = json!({"principal": "root", "allow_root_equivalent": true});
    host.install(&policy);
    for line in [
        "AcceptEnv BASH_FUNC_*",
        "ForceCommand /bin/echo hi",
        "ChrootDirectory /srv",
        "PermitRootLogin no",
        "PubkeyAuthentication no",
        "AuthenticationMethods publickey,password",
    ] {
        host.configure(EARLY, &format!("{line}\n"));
        let said = host.complaint("");
        assert!(said.contains(&format!("10-local.conf:1: {line}")), "{said}");
    }
    host.configure(
        LATE,
        "Match Address 10.0.0.0/8\n  ForceCommand /bin/echo hi\n",
    );
    host.configure(
        EARLY,
        "AcceptEnv LC_ALL\nPermitRootLogin forced-commands-only\n",
    );
    let said = host.complaint("");
    assert!(said.contains("60-local.conf:2: ForceCommand"), "{said}");
    host.ok(&format!("rm {LATE}"));
    host.install(&policy);
    assert!(
        host.ok("sshd -T -C user=root,host=h,addr=127.0.0.1")
            .contains("forced-commands-only")
    );
    host.certify("web/op", "-O clear -O force-command='id -un'");
    assert_eq!(host.ssh("agent", "root", "x").out, "root\n");
}

#[test]
fn the_configuration_that_counts_is_that_of_the_sshd_that_runs() {
    let Some(host) = Host::start() else { return };
    host.ok("grep -v ^Include /etc/ssh/sshd_config > /etc/ssh/other");
    let other = "/usr/sbin/sshd -f /etc/ssh/other -p 2222 -o PidFile=/run/other.pid -o ListenAddress=127.0.0.2";
    let ports = "awk '$4 == \"0A\" { print $2 }' /proc/net/tcp";
    let listens = || host.ok(ports).contains(":08AE");
    host.ok(other);
    assert!(listens());
    let said = host.install(&policy());
    assert!(
        said.contains("-f/etc/ssh/other") && said.contains("agents do not come in there"),
        "{said}"
    );
    assert!(said.contains("does not listen on port 22"), "{said}");
    let before = host.ok("cat /run/sshd.pid; cat /run/other.pid");
    host.ok(&format!("kill {}", before.lines().next().unwrap()));
    host.ok(&format!(
        "while kill -0 {} 2> /dev/null; do sleep 0.05; done",
        before.lines().next().unwrap()
    ));
    let said = host.refused(&policy(), "");
    assert!(
        said.contains("-f/etc/ssh/other") && said.contains("does not use"),
        "{said}"
    );
    host.ok("kill $(cat /run/other.pid); while [ -e /run/other.pid ]; do sleep 0.05; done");
    // No sshd runs: the options of its service apply.
    host.ok("echo 'SSHD_OPTS=\"-f /etc/ssh/other\"' > /etc/default/ssh");
    let said = host.refused(&policy(), "");
    assert!(said.contains("of /etc/ssh/other"), "{said}");
    host.ok(&format!("rm /etc/default/ssh; {INSIDE}/web/install.sh"));
}

#[test]
fn check_finds_a_later_change_of_sshd_and_changes_nothing() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    let check = format!("{INSIDE}/web/check.sh");
    assert!(host.ok(&check).contains("as the policy requires"));
    host.configure(EARLY, "Match User eph-read\n  ForceCommand /bin/echo hi\n");
    let before = host.state();
    let ran = host.sh(&check);
    assert!(
        ran.code == 1 && ran.err.contains("10-local.conf:2: ForceCommand"),
        "{ran:?}"
    );
    host.assert_state(&before);
    // A configuration other than the running sshd's.
    host.ok("grep -v ^Include /etc/ssh/sshd_config > /etc/ssh/other");
    let ran = host.sh(&format!("{check} --config /etc/ssh/other"));
    assert!(ran.code == 1 && ran.err.contains("does not use"), "{ran:?}");
    host.ok("echo Include /etc/ssh/sshd_config.d/5*.conf >> /etc/ssh/other");
    host.ok(&format!(
        "{check} --config /etc/ssh/other --host-key /etc/ssh/ssh_host_ed25519_key"
    ));
}
