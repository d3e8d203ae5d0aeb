//! sshd configuration before or after the block for role accounts: either the block stays in force, or the
//! installation is refused.

use std::net::{Ipv4Addr, TcpListener};

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
fn block_that_overrides_ours_is_refused_with_its_line() {
    let Some(host) = Host::start() else { return };
    let early = "Match Address 127.0.0.0/8\n  ForceCommand /bin/echo hi\n";
    host.configure(EARLY, early);
    let output = host.refused(&policy(), "");
    assert!(output.contains("10-local.conf:2: ForceCommand"), "{output}");
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
        // Lists are merged regardless of the order.
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
        let output = host.complaint("");
        assert!(output.contains(place), "{text}\n{output}");
        host.ok(&format!("rm {file}"));
    }
    assert_eq!(
        host.login("web/read", "eph-read", "id -un").out,
        "eph-read\n"
    );
}

#[test]
fn blocks_without_effect_on_roles_are_accepted() {
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
fn blocks_apply_by_the_source_addresses_of_the_appliance() {
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
        let output = host.complaint(arguments);
        assert!(output.contains("10-local.conf:2: ForceCommand"), "{output}");
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
fn role_that_sshd_would_refuse_is_not_installed() {
    let Some(host) = Host::start() else { return };
    host.configure(EARLY, "AllowUsers ops\n");
    let output = host.refused(&policy(), "");
    assert!(output.contains("allowusers does not name it"), "{output}");
    host.configure(EARLY, "");
    host.install(&from(&["192.0.2.7/32"]));
    let block = |line: &str| format!("Match User eph-*\n  {line}\n");
    for (text, cause) in [
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
        let output = host.complaint("");
        assert!(output.contains(cause), "{text}\n{output}");
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
fn global_directives_that_affect_a_root_role_are_refused() {
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
        "SetEnv BASH_ENV=/tmp/x",
        "SetEnv LC_ALL=C \"ZDOTDIR=/tmp/a b\"",
        "PermitUserEnvironment LANG,BASH_*",
        "AuthorizedPrincipalsCommand /bin/echo web/op",
    ] {
        let user = if line.starts_with("AuthorizedPrincipalsCommand") {
            "AuthorizedPrincipalsCommandUser nobody\n"
        } else {
            ""
        };
        host.configure(EARLY, &format!("{line}\n{user}"));
        let output = host.complaint("");
        assert!(
            output.contains(&format!("10-local.conf:1: {line}")),
            "{output}"
        );
    }
    host.configure(
        LATE,
        "Match Address 10.0.0.0/8\n  ForceCommand /bin/echo hi\n",
    );
    host.configure(
        EARLY,
        "AcceptEnv LC_ALL\nPermitRootLogin forced-commands-only\nSetEnv LC_ALL=C LANG=\"a b\"\n\
         PermitUserEnvironment no\nAuthorizedPrincipalsCommand none\n",
    );
    let output = host.complaint("");
    assert!(output.contains("60-local.conf:2: ForceCommand"), "{output}");
    host.configure(
        LATE,
        "Match LocalPort 22\n  AuthorizedPrincipalsCommand /bin/echo\n",
    );
    let output = host.complaint("");
    assert!(
        output.contains("60-local.conf:2: AuthorizedPrincipalsCommand"),
        "{output}"
    );
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
fn configuration_of_the_running_sshd_is_checked() {
    let Some(host) = Host::start() else { return };
    host.ok("grep -v ^Include /etc/ssh/sshd_config > /etc/ssh/other");
    let other = "/usr/sbin/sshd -f /etc/ssh/other -p 2222 -o PidFile=/run/other.pid -o ListenAddress=127.0.0.2";
    let ports = "awk '$4 == \"0A\" { print $2 }' /proc/net/tcp";
    let listens = || host.ok(ports).contains(":08AE");
    host.ok(other);
    assert!(listens());
    let output = host.install(&policy());
    assert!(
        output.contains("-f/etc/ssh/other") && output.contains("agents do not come in there"),
        "{output}"
    );
    assert!(output.contains("does not listen on port 22"), "{output}");
    let before = host.ok("cat /run/sshd.pid; cat /run/other.pid");
    host.ok(&format!("kill {}", before.lines().next().unwrap()));
    host.ok(&format!(
        "while kill -0 {} 2> /dev/null; do sleep 0.05; done",
        before.lines().next().unwrap()
    ));
    let output = host.refused(&policy(), "");
    assert!(
        output.contains("-f/etc/ssh/other") && output.contains("does not use"),
        "{output}"
    );
    host.ok("kill $(cat /run/other.pid); while [ -e /run/other.pid ]; do sleep 0.05; done");
    // No sshd runs: the options of its service apply.
    host.ok("echo 'SSHD_OPTS=\"-f /etc/ssh/other\"' > /etc/default/ssh");
    let output = host.refused(&policy(), "");
    assert!(output.contains("of /etc/ssh/other"), "{output}");
    host.ok(&format!("rm /etc/default/ssh; {INSIDE}/web/install.sh"));
}

#[test]
fn check_detects_later_changes_and_modifies_nothing() {
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

#[test]
fn command_line_option_that_overrides_the_files_is_named() {
    let Some(host) = Host::start() else { return };
    let mut policy = policy();
    policy["roles"]["op"] = json!({"principal": "root", "allow_root_equivalent": true});
    host.install(&policy);
    for option in [
        "SetEnv=BASH_ENV=/tmp/x",
        "DenyUsers=eph-*@*",
        "MaxSessions=0",
    ] {
        let output = with_second_sshd(&host, "/usr/sbin/sshd", &format!("-o {option}"), || {
            host.complaint("")
        });
        assert!(
            output.contains(&format!("option -o{option} of its command line")),
            "{output}"
        );
    }
    let check = format!("{INSIDE}/web/check.sh");
    with_second_sshd(&host, "/usr/sbin/sshd", "-o SetEnv=LC_ALL=C", || {
        host.ok(&check)
    });
}

/// Runs `body` while a second sshd listens, then ends that sshd.
fn with_second_sshd(
    host: &Host,
    program: &str,
    options: &str,
    body: impl FnOnce() -> String,
) -> String {
    // Tests share the network namespace, so the port must be free.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    host.ok(&format!(
        "{program} -p {port} -o PidFile=/run/other.pid -o ListenAddress=127.0.0.1 {options}
         while [ ! -s /run/other.pid ]; do sleep 0.05; done"
    ));
    let output = body();
    host.ok("kill $(cat /run/other.pid); while [ -e /run/other.pid ]; do sleep 0.05; done");
    output
}

/// Starts a program with the process title of a listening sshd, and waits until it runs.
fn start_decoy(host: &Host, prefix: &str, program: &str) {
    host.ok(&format!(
        "{prefix} bash -c 'exec -a \"sshd: /usr/sbin/sshd -c/tmp/evil -o ForceCommand=/tmp/evil \
         [listener] 0 of 10-100 startups\" {program} 1000' < /dev/null > /dev/null 2>&1 &
         pid=$!
         until [ \"$(readlink /proc/$pid/exe)\" = {program} ]; do sleep 0.05; done"
    ));
}

#[test]
fn processes_that_pose_as_sshd_are_ignored_and_not_executed() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    host.ok("install -m 4755 /bin/sleep /tmp/mount
         install -m 755 /bin/sleep /tmp/sudo
         install -d -o ops -m 755 /tmp/home
         install -m 755 /bin/sleep /tmp/home/sshd
         install -d /tmp/own
         install -m 4755 /bin/sleep /tmp/own/sshd
         printf '#!/bin/sh\ntouch /tmp/ran\n' > /tmp/trap
         chmod 755 /tmp/trap");
    let as_ops = "setpriv --reuid ops --regid ops --clear-groups";
    for (prefix, program) in [
        // Setuid root, like `mount` and `su`.
        (as_ops, "/tmp/mount"),
        (as_ops, "/tmp/own/sshd"),
        // A process of an ordinary user.
        (as_ops, "/tmp/sudo"),
        // All user ids are root, like those of sudo.
        ("", "/tmp/sudo"),
        // A program that a user could have written, and one that any user can start.
        ("", "/tmp/home/sshd"),
        ("", "/tmp/own/sshd"),
    ] {
        start_decoy(&host, prefix, program);
    }
    let decoys = "grep -l '^sshd: /usr/sbin/sshd -c/tmp/evil' /proc/[0-9]*/cmdline | wc -l";
    assert_eq!(host.ok(decoys), "6\n");
    // From now on, running one of these programs creates a file.
    for program in ["/tmp/mount", "/tmp/sudo", "/tmp/home/sshd", "/tmp/own/sshd"] {
        host.ok(&format!("mount --bind /tmp/trap {program}"));
    }
    let output = host.ok(&format!("{INSIDE}/web/check.sh; {INSIDE}/web/install.sh"));
    assert!(!output.contains("evil"), "{output}");
    for program in ["/tmp/home/sshd", "/tmp/own/sshd"] {
        assert!(
            output
                .lines()
                .any(|line| line.contains("is ignored") && line.ends_with(program)),
            "{output}"
        );
    }
    assert!(!output.contains("no sshd listens"), "{output}");
    host.ok("[ ! -e /tmp/ran ]");
}

#[test]
fn sshd_at_another_or_deleted_path_is_queried() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    host.ok("grep -v ^Include /etc/ssh/sshd_config > /etc/ssh/other");
    let check = format!("{INSIDE}/web/check.sh");
    for after in ["true", "rm /tmp/own/sshd"] {
        host.ok("mkdir -p /tmp/own; cp /usr/sbin/sshd /tmp/own/sshd");
        let output = with_second_sshd(&host, "/tmp/own/sshd", "-f /etc/ssh/other", || {
            host.ok(&format!("{after}; {check}"))
        });
        assert!(
            output.contains("-f/etc/ssh/other") && output.contains("agents do not come in there"),
            "{after}\n{output}"
        );
    }
}

#[test]
fn scripts_ignore_the_path_of_the_caller() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    host.ok(
        "mkdir /tmp/evil; printf '#!/bin/sh\ntouch /tmp/ran\n' > /tmp/evil/dirname
         chmod 755 /tmp/evil/dirname
         for name in id sed awk mktemp sshd stat loginctl; do cp /tmp/evil/dirname /tmp/evil/$name; done",
    );
    let output = host.ok(&format!(
        "cd /tmp/evil; PATH=/tmp/evil: {INSIDE}/web/check.sh; unset PATH; {INSIDE}/web/check.sh"
    ));
    assert!(output.contains("as the policy requires"), "{output}");
    host.ok("[ ! -e /tmp/ran ]");
}

#[test]
fn lines_that_the_scripts_cannot_parse_are_refused() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    let check = format!("{INSIDE}/web/check.sh");
    let hidden = "Match LocalPort 22\n  ForceCommand /bin/echo hi\n";
    host.configure("/etc/ssh/more", hidden);
    host.configure("'/etc/ssh/a b'", hidden);
    for (line, cause) in [
        ("Include '/etc/ssh/more'", "single quotes"),
        ("Include \"/etc/ssh/a b\"", "spaces inside quotes"),
        ("Include /etc/ssh/a\\ b", "a backslash"),
        ("Include\r/etc/ssh/more", "carriage return"),
        ("=Include /etc/ssh/more", "`=` at the beginning"),
    ] {
        host.configure(EARLY, &format!("\n{line}\n"));
        let output = host.complaint("");
        assert!(
            output.contains("10-local.conf:2: ")
                && output.contains("cannot be followed")
                && output.contains(cause),
            "{line}\n{output}"
        );
    }
    for line in [
        "Include /etc/ssh/more",
        "Include \"/etc/ssh/more\"\t# it's followed \\",
        "include=\"/etc/ssh/mor?\" \r",
    ] {
        host.configure("/etc/ssh/more", hidden);
        host.configure(EARLY, &format!("# '\r\\\n{line}\n"));
        let output = host.complaint("");
        assert!(
            output.contains("/etc/ssh/more:2: ForceCommand"),
            "{line}\n{output}"
        );
        host.configure("/etc/ssh/more", "X11DisplayOffset 20\n");
        host.ok(&check);
    }
}

#[test]
fn denyusers_for_all_hosts_applies_without_a_known_address() {
    let Some(host) = Host::start() else { return };
    host.install(&policy());
    for pattern in ["*@*", "eph-*@**"] {
        host.configure(EARLY, &format!("DenyUsers {pattern}\n"));
        let output = host.complaint("");
        assert!(
            output.contains("denyusers names it") && output.contains("10-local.conf:1: DenyUsers"),
            "{output}"
        );
    }
    let check = format!("{INSIDE}/web/check.sh");
    host.configure(EARLY, "DenyUsers ops@* *@10.0.0.0/8\n");
    let output = host.ok(&check);
    assert!(
        output.contains("note: denyusers *@10.0.0.0/8 decides about eph-read")
            && !output.contains("ops@"),
        "{output}"
    );
    host.configure(EARLY, "AllowUsers ops eph-*@10.0.0.0/8\n");
    let output = host.ok(&check);
    assert!(
        output.contains("note: allowusers eph-*@10.0.0.0/8"),
        "{output}"
    );
    let output = host.ok(&format!("{check} --from 10.0.0.7"));
    assert!(!output.contains("note: allowusers"), "{output}");
}
