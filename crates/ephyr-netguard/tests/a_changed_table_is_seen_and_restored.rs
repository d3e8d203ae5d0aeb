//! `check` lists differences, `watch` restores a changed table, and a reload applies the new policy's table.

#![cfg(test)]

mod net;

use std::os::unix::fs::MetadataExt as _;

use net::{Net, OTHER, OUTSIDE, PROVER, ROBOT, SCOUT, policy, stderr, tcp, udp, wait_for};
use rustix::process::Signal;

/// Changes to the table, and the difference that `check` reports for each.
const CHANGES: [(&str, &str); 14] = [
    ("delete table inet ephyr", "there is no table inet ephyr"),
    ("flush ruleset", "there is no table inet ephyr"),
    ("add table inet ephyr { flags dormant; }", "`flags dormant`"),
    ("flush chain inet ephyr output", "chain output, line 2"),
    (
        "insert rule inet ephyr agent accept",
        "chain agent, line 1: `accept`",
    ),
    (
        "insert rule inet ephyr output meta skuid 41501 accept",
        "chain output, line 2",
    ),
    ("add chain inet ephyr more", "unexpected chain more"),
    (
        "add chain inet ephyr output { policy drop; }",
        "chain output, line 1",
    ),
    (
        "delete element inet ephyr agents { 41501 }",
        "missing element 41501 comment \"scout\" in set agents",
    ),
    (
        "add element inet ephyr agents { 41700 }",
        "unexpected element 41700 in set agents",
    ),
    (
        "add element inet ephyr reachable4 { 41501 . 0.0.0.0/0 . 22 }",
        "unexpected element 41501 . 0.0.0.0/0 . 22 in set reachable4",
    ),
    (
        "delete element inet ephyr reachable4 { 41502 . 192.0.2.2/32 . 7001 }",
        "missing element 41502 . 192.0.2.2 . 7001 comment \"robot\" in set reachable4",
    ),
    (
        "delete element inet ephyr rejected { 41501 }",
        "missing element 41501 : \"agent-scout\" in map rejected",
    ),
    ("add counter inet ephyr mine", "unexpected counter mine"),
];

fn change(net: &Net, command: &str) {
    let file = net.dir.path().join("change.nft");
    std::fs::write(&file, format!("{command}\n")).unwrap();
    net.appliance.run(&format!("nft -f {}", file.display()));
}

#[test]
fn check_accepts_the_applied_table_and_names_each_difference() {
    let Some(net) = Net::new() else { return };
    let never = net.guard("check");
    assert_eq!(never.status.code(), Some(1), "{}", stderr(&never));
    for (command, expected) in CHANGES {
        net.apply();
        let same = net.guard("check");
        assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
        change(&net, command);
        let differs = net.guard("check");
        assert_eq!(differs.status.code(), Some(1), "{command}");
        let stderr = stderr(&differs);
        assert!(stderr.contains(expected), "{command}: {stderr}");
    }
    net.apply();
    let tables = net.appliance.run("nft list tables");
    assert_eq!(tables.trim(), "table inet ephyr", "no copy is left");
}

#[test]
fn concurrent_checks_do_not_disturb_each_other() {
    let Some(net) = Net::new() else { return };
    net.apply();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..15 {
                    let same = net.guard("check");
                    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
                }
            });
        }
    });
    let tables = net.appliance.run("nft list tables");
    assert_eq!(tables.trim(), "table inet ephyr", "no copy is left");
}

#[test]
fn counter_values_are_no_difference_and_survive_apply() {
    let Some(net) = Net::new() else { return };
    net.apply();
    net.appliance.as_user(SCOUT, || drop(udp(OUTSIDE, 53)));
    assert_eq!(net.rejected("scout"), 1);
    assert!(net.guard("check").status.success());
    net.apply();
    assert_eq!(net.rejected("scout"), 1, "kept by a replacement");
}

#[test]
fn other_tables_are_not_changed() {
    let Some(net) = Net::new() else { return };
    net.appliance.run("nft add table inet operators");
    net.apply();
    assert!(net.guard("check").status.success());
    net.appliance.run("nft list table inet operators");
}

#[test]
fn watch_restores_each_change_and_logs_an_alert() {
    let Some(net) = Net::new() else { return };
    let watching = net.watch(&[]);
    net.appliance.as_user(SCOUT, || drop(udp(OUTSIDE, 53)));
    for (index, (command, expected)) in (1..).zip(CHANGES) {
        change(&net, command);
        wait_for(command, || {
            net.status()["repairs"].as_u64().unwrap_or_default() >= index
        });
        let log = watching.log();
        let last = log.lines().last().unwrap_or_default().to_owned();
        assert!(
            last.starts_with("ALERT") && last.contains(expected),
            "{command}: {last}"
        );
        assert!(net.guard("check").status.success(), "{command}");
        let sent = net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53));
        assert!(sent.is_err(), "{command}");
    }
    let status = net.status();
    assert_eq!(status["in_force"], true);
    let repaired = &status["last_repair"]["differences"];
    assert_eq!(repaired[0], "unexpected counter mine");
    // Counter values survive the repairs, also of a flushed table.
    let count = u64::try_from(CHANGES.len()).unwrap();
    assert!(net.rejected("scout") > count / 2);
    assert!(watching.stop());
    let sent = net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53));
    assert!(
        sent.is_err(),
        "the table must stay in force after the guard stops"
    );
}

/// Installs an `nft` that crashes while the file `run/mark` is not empty; loading a ruleset empties it.
fn crashing_nft(net: &Net) -> String {
    let dir = net.dir.path();
    let (bin, mark) = (dir.join("bin"), dir.join("run/mark"));
    std::fs::create_dir_all(&bin).unwrap();
    let (bin, mark) = (bin.display(), mark.display());
    net.appliance.run(&format!(
        "cp $(command -v nft) {bin}/real; cp /bin/sh {bin}/sh"
    ));
    let script = format!(
        "#!{bin}/sh\n[ \"$1\" != -f ] || : > {mark}\n[ ! -s {mark} ] || kill -SEGV $$\nexec {bin}/real \"$@\"\n"
    );
    std::fs::write(dir.join("bin/nft"), script).unwrap();
    net.appliance.run(&format!("chmod 755 {bin}/nft"));
    format!("EPHYR_NFT={bin}/nft")
}

#[test]
fn table_that_cannot_be_listed_is_replaced() {
    let Some(net) = Net::new() else { return };
    let nft = crashing_nft(&net);
    let watching = net.watch(&["env", &nft]);
    std::fs::write(net.dir.path().join("run/mark"), "x").unwrap();
    change(&net, "insert rule inet ephyr output accept");
    wait_for("the repair", || net.status()["repairs"] == 1);
    assert_eq!(net.status()["in_force"], true);
    wait_for("the log line", || {
        watching.log().contains("cannot be listed")
    });
    assert!(net.guard("check").status.success());
    assert!(net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53)).is_err());
}

#[test]
fn failed_repair_is_logged_once_and_retried() {
    let Some(net) = Net::new() else { return };
    let nft = crashing_nft(&net);
    let watching = net.watch(&["env", &nft]);
    let (real, away) = (
        net.dir.path().join("bin/nft"),
        net.dir.path().join("bin/away"),
    );
    std::fs::rename(&real, &away).unwrap();
    change(&net, "flush ruleset");
    wait_for("the failed repair", || net.status()["in_force"] == false);
    let problem = net.status()["problem"].to_string();
    assert!(problem.contains("cannot be run"), "{problem}");
    let checked = net.status()["checked"].clone();
    wait_for("another attempt", || net.status()["checked"] != checked);
    assert_eq!(
        watching.log().matches("ALERT").count(),
        1,
        "{}",
        watching.log()
    );
    assert_eq!(net.status()["repairs"], 0);
    std::fs::rename(&away, &real).unwrap();
    wait_for("the repair", || net.status()["in_force"] == true);
    assert_eq!(net.status()["repairs"], 1);
    assert!(net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53)).is_err());
}

#[test]
fn without_watch_a_flushed_table_is_not_restored() {
    let Some(net) = Net::new() else { return };
    net.apply();
    change(&net, "flush ruleset");
    assert!(net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53)).is_ok());
    assert_eq!(net.guard("check").status.code(), Some(1));
}

#[test]
fn w18_reload_applies_the_new_policys_table() {
    let Some(net) = Net::new() else { return };
    let listener = net
        .outside
        .within(|| std::net::TcpListener::bind("192.0.2.2:7001").unwrap());
    let reach = |uid| {
        let done = net.appliance.as_user(uid, || tcp(OUTSIDE, 7001));
        done.is_ok()
    };
    net.write_policy(&policy(&[SCOUT, ROBOT]));
    let watching = net.watch(&[]);
    assert!(reach(ROBOT) && reach(PROVER) && !reach(SCOUT));
    let pid = watching.pid();

    // Without SIGHUP the new policy does not take effect.
    net.write_policy(&policy(&[PROVER]));
    assert!(reach(PROVER) && !reach(SCOUT));
    watching.signal(Signal::HUP);
    wait_for("the reload", || {
        net.status()["agents"][0]["agent"] == "prover"
    });
    assert!(watching.log().contains("reloaded"));
    assert!(!reach(PROVER));
    assert!(reach(SCOUT) && reach(ROBOT), "no longer agents");
    assert!(net.guard("check").status.success());
    assert_eq!(net.status()["repairs"], 0, "a reload is no repair");
    assert_eq!(watching.pid(), pid);
    drop(listener);
}

#[test]
fn invalid_policy_changes_nothing_and_status_names_the_error() {
    let Some(net) = Net::new() else { return };
    let watching = net.watch(&[]);
    net.write_policy("agents:\n  scout:\n    uid: 0\n");
    watching.signal(Signal::HUP);
    wait_for("the refusal", || !net.status()["problem"].is_null());
    let problem = net.status()["problem"].to_string();
    assert!(problem.contains("E-UID-ROOT"), "{problem}");
    assert!(watching.log().contains("E-UID-ROOT"));
    assert_eq!(net.status()["in_force"], true);
    assert!(net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53)).is_err());
    // A policy that is not a regular file is refused without blocking.
    std::fs::remove_file(net.policy()).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, net.policy(), kind, mode, 0).unwrap();
    watching.signal(Signal::HUP);
    wait_for("the second refusal", || {
        let problem = net.status()["problem"].to_string();
        problem.contains("it is a FIFO")
    });
    assert!(stderr(&net.guard("validate")).contains("it is a FIFO"));
    // The old policy's table is still guarded, and the next valid policy is loaded.
    change(&net, "flush ruleset");
    wait_for("the repair", || net.status()["repairs"] == 1);
    net.write_policy(&policy(&[OTHER]));
    watching.signal(Signal::HUP);
    wait_for("the reload", || net.status()["problem"].is_null());
    assert!(net.appliance.as_user(OTHER, || udp(OUTSIDE, 53)).is_err());
    assert!(net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53)).is_ok());
}

#[test]
fn apply_refuses_an_invalid_policy_and_keeps_the_table() {
    let Some(net) = Net::new() else { return };
    net.apply();
    net.write_policy("agents:\n  scout:\n    uid: 0\n");
    let refused = net.guard("apply");
    assert_eq!(refused.status.code(), Some(78));
    assert!(stderr(&refused).contains("E-UID-ROOT"));
    assert!(net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53)).is_err());
}

#[test]
fn watch_needs_only_cap_net_admin() {
    const NOBODY: &str = "41000";
    let Some(net) = Net::new() else { return };
    let dir = net.dir.path();
    net.appliance.run(&format!(
        "chmod 755 {0} && mkdir -p {0}/run && chown {NOBODY} {0}/run",
        dir.display()
    ));
    let prefix = [
        "setpriv",
        "--reuid",
        NOBODY,
        "--regid",
        NOBODY,
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps=-all,+net_admin",
        "--ambient-caps=-all,+net_admin",
        "--bounding-set=-all,+net_admin",
    ];
    let watching = net.watch(&prefix);
    let owner = std::fs::metadata(net.status_file()).unwrap();
    assert_eq!(owner.uid().to_string(), NOBODY);
    assert_eq!(owner.mode() & 0o777, 0o644);
    change(&net, "flush ruleset");
    wait_for("the repair", || net.status()["repairs"] == 1);
    net.write_policy(&policy(&[OTHER]));
    watching.signal(Signal::HUP);
    wait_for("the reload", || watching.log().contains("reloaded"));
    assert!(net.appliance.as_user(OTHER, || udp(OUTSIDE, 53)).is_err());
    assert!(watching.stop());
}
