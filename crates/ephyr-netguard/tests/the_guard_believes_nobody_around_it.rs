//! The guard reports errors, trusts neither PATH nor the environment for `nft`, and keeps only the rights it needs.

#![cfg(test)]

mod net;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ephyr_names::Timestamp;
use net::{GUARD, Net, OUTSIDE, PROVER, SCOUT, policy, stderr, udp, wait_for};
use rustix::process::Signal;

/// Installs a shell script as `nft` and returns its path. The script can call the real program as `$real`.
fn fake_nft(net: &Net, lines: &str) -> String {
    let bin = net.dir.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    // A shell in the same directory, since the guard's sandbox denies executing files elsewhere.
    let place = bin.display();
    net.appliance.run(&format!(
        "cp $(command -v nft) {place}/real; cp /bin/sh {place}/sh"
    ));
    let script = format!("#!{place}/sh\nreal={place}/real\n{lines}\n");
    std::fs::write(bin.join("nft"), script).unwrap();
    net.appliance.run(&format!("chmod 755 {place}/nft"));
    format!("{place}/nft")
}

fn guard_with(net: &Net, nft: &str, command: &str) -> std::process::Output {
    net.appliance.within(|| {
        Command::new(GUARD)
            .args([command, "--nft", nft, "--policy"])
            .arg(net.policy())
            .env("EPHYR_OF_THE_CALLER", "1")
            .output()
            .unwrap()
    })
}

/// Returns whether an agent's packets are rejected.
fn is_rejected(net: &Net) -> bool {
    net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53)).is_err()
}

#[test]
fn table_changed_right_after_loading_is_an_error() {
    let Some(net) = Net::new() else { return };
    let nft = fake_nft(
        &net,
        "[ \"$1\" = -f ] || exec $real \"$@\"
text=$(while read -r line; do echo \"$line\"; done)
echo \"$text\" | $real -f - || exit 1
case $text in *'inet ephyr agents'*) $real insert rule inet ephyr output accept ;; esac",
    );
    let applied = guard_with(&net, &nft, "apply");
    assert_eq!(applied.status.code(), Some(75));
    let stderr = stderr(&applied);
    assert!(
        stderr.contains("differs from the policy: chain output"),
        "{stderr}"
    );
    net.apply();
}

#[test]
fn ruleset_refused_by_nft_leaves_the_old_table_in_force() {
    let Some(net) = Net::new() else { return };
    net.write_policy(&policy(&[SCOUT]));
    net.apply();
    let nft = fake_nft(
        &net,
        "[ \"$1\" = -f ] || exec $real \"$@\"
text=$(while read -r line; do echo \"$line\"; done)
case $text in *'inet ephyr agents'*) echo 'no room' >&2; exit 1 ;; esac
echo \"$text\" | $real -f -",
    );
    net.write_policy(&policy(&[SCOUT, PROVER]));
    let applied = guard_with(&net, &nft, "apply");
    assert_eq!(applied.status.code(), Some(71));
    let stderr = stderr(&applied);
    assert!(
        stderr.contains("nft cannot load the table: no room"),
        "{stderr}"
    );
    assert!(is_rejected(&net));
    // The copy of the new table stays in force beside the old table.
    let new = net.appliance.as_user(PROVER, || udp(OUTSIDE, 53));
    assert!(new.is_err());
    net.apply();
    let tables = net.appliance.run("nft list tables");
    assert_eq!(tables.trim(), "table inet ephyr");
}

#[test]
fn relative_directories_in_path_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    for (place, word) in [("here", "nearby"), ("there", "named")] {
        let place = dir.path().join(place);
        std::fs::create_dir(&place).unwrap();
        let script = format!("#!/bin/sh\necho {word} >&2\nexit 1\n");
        std::fs::write(place.join("nft"), script).unwrap();
        let done = Command::new("chmod")
            .arg("755")
            .arg(place.join("nft"))
            .status();
        assert!(done.unwrap().success());
    }
    let file = dir.path().join("policy.yaml");
    std::fs::write(&file, policy(&[SCOUT])).unwrap();
    let run = |path: String| {
        let done = Command::new(GUARD)
            .args(["check", "--policy"])
            .arg(&file)
            .current_dir(dir.path())
            .env("PATH", path)
            .output()
            .unwrap();
        stderr(&done)
    };
    let there = dir.path().join("there");
    let found = run(format!("here:{}", there.display()));
    assert!(found.contains("named"), "{found}");
    let found = run(format!("{}:here", dir.path().join("here").display()));
    assert!(
        found.contains("nearby"),
        "an absolute directory is searched: {found}"
    );
}

#[test]
fn nft_runs_with_an_empty_environment() {
    let Some(net) = Net::new() else { return };
    let seen = net.dir.path().join("environ");
    let read = format!(
        "$real --version > {0}.version; exec 3< /proc/self/environ; while read -r line <&3; do echo \"$line\"; done \
         > {0}; set > {0}.set; exec $real \"$@\"",
        seen.display()
    );
    let nft = fake_nft(&net, &read);
    let applied = guard_with(&net, &nft, "apply");
    assert!(applied.status.success(), "{}", stderr(&applied));
    let set = std::fs::read_to_string(seen.with_extension("set")).unwrap();
    assert!(set.contains("real="), "{set}");
    assert!(!set.contains("EPHYR_OF_THE_CALLER"), "{set}");
}

#[test]
fn endless_or_oversized_policy_is_refused() {
    let run = |file: &Path| {
        let done = Command::new("prlimit")
            .args([
                "--as=2147483648",
                GUARD,
                "check",
                "--nft",
                "/bin/false",
                "--policy",
            ])
            .arg(file)
            .output()
            .unwrap();
        stderr(&done)
    };
    let endless = run(Path::new("/dev/zero"));
    assert!(endless.contains("only a regular file is read"), "{endless}");
    let long = tempfile::NamedTempFile::new().unwrap();
    long.as_file().set_len(1 << 40).unwrap();
    let oversized = run(long.path());
    assert!(oversized.contains("it is longer than"), "{oversized}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), policy(&[SCOUT])).unwrap();
    let other = run(file.path());
    assert!(other.contains("nft cannot load"), "{other}");
}

#[test]
fn check_does_not_take_packets_from_the_counters() {
    let Some(net) = Net::new() else { return };
    net.apply();
    let done = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            net.appliance.as_user(SCOUT, || {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
                let mut sent = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    let _ = socket.send_to(b"x", (OUTSIDE, 53));
                    sent += 1;
                }
                sent
            })
        });
        for _ in 0..5 {
            assert!(net.guard("check").status.success());
        }
        done.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    assert_eq!(net.seen(), 0);
    // The kernel counts a few packets nowhere while tables change; an active copy would count about half.
    let counted = net.rejected("scout");
    assert!(sent - counted < sent / 10, "{counted} of {sent}");
}

#[test]
fn change_is_noticed_before_the_next_periodic_check() {
    let Some(net) = Net::new() else { return };
    let _watching = net.watch(&[]);
    let checked = || -> Timestamp { net.status()["checked"].as_str().unwrap().parse().unwrap() };
    // Every nf_tables change causes a check. Without a change there is one every five seconds.
    let trigger_check = |number: u32| {
        let before = checked();
        net.appliance
            .run(&format!("nft add table inet operators{number}"));
        wait_for("a check", || checked() != before);
        checked()
    };
    let first = trigger_check(0);
    let last = (1..=4).fold(first, |_, number| trigger_check(number));
    let took = last.unix_millis() - first.unix_millis();
    assert!(took < 15_000, "{took} ms for four changes");
}

#[test]
fn watch_and_its_nft_can_write_only_the_status_file() {
    let Some(net) = Net::new() else { return };
    let elsewhere = net.dir.path().join("elsewhere");
    let mark = format!("(: > {})\nexec $real \"$@\"", elsewhere.display());
    let nft = fake_nft(&net, &mark);
    let watching = net.watch(&["env", &format!("EPHYR_NFT={nft}")]);
    if net.status()["landlock_abi"] == 0 {
        ephyr_testkit::skip("this kernel has no Landlock");
        return;
    }
    assert!(!elsewhere.exists());
    assert!(watching.stop());
    let applied = guard_with(&net, &nft, "apply");
    assert!(applied.status.success(), "{}", stderr(&applied));
    assert!(elsewhere.exists(), "`apply` is not confined");
}

#[test]
fn status_file_is_world_readable_under_any_umask() {
    let Some(net) = Net::new() else { return };
    let _watching = net.watch(&["sh", "-c", "umask 077; exec \"$0\" \"$@\""]);
    let status = std::fs::metadata(net.status_file()).unwrap();
    assert_eq!(status.permissions().mode() & 0o777, 0o644);
}

/// Returns a value of `/proc/PID/status`.
fn process_status(pid: &str, key: &str) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    value
        .unwrap()
        .trim_start_matches(':')
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn watch_filters_its_system_calls() {
    let Some(net) = Net::new() else { return };
    let watching = net.watch(&[]);
    let pid = watching.pid().to_string();
    assert!(process_status(&pid, "Seccomp_filters") > process_status("self", "Seccomp_filters"));
    assert_eq!(process_status(&pid, "NoNewPrivs"), 1);
}

#[test]
fn watch_refuses_a_kernel_below_the_minimum_abi() {
    /// The highest ABI that a policy can demand.
    const MAX_ABI: u64 = 10;
    let Some(net) = Net::new() else { return };
    let watching = net.watch(&[]);
    let abi = net.status()["landlock_abi"].as_u64().unwrap();
    assert!(watching.stop());
    if abi >= MAX_ABI {
        ephyr_testkit::skip("this kernel has the highest ABI that a policy can demand");
        return;
    }
    let text = policy(&[SCOUT]);
    net.write_policy(&format!("{text}sandbox: {{ minimum_abi: {MAX_ABI} }}\n"));
    let refused = net.appliance.within(|| {
        Command::new("timeout")
            .args(["20", GUARD, "watch", "--policy"])
            .arg(net.policy())
            .arg("--status")
            .arg(net.status_file())
            .output()
            .unwrap()
    });
    assert_eq!(refused.status.code(), Some(78), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("Landlock"),
        "{}",
        stderr(&refused)
    );
    net.write_policy(&format!("{text}sandbox: {{ minimum_abi: {abi} }}\n"));
    let _watching = net.watch(&[]);
}

#[test]
fn ready_is_sent_after_the_table_is_in_force() {
    let Some(net) = Net::new() else { return };
    let path = net.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // Delays nft, so that a premature READY would arrive before the table is in force.
    let nft = fake_nft(
        &net,
        "[ \"$1\" != -f ] || $real --version > /dev/null\nexec $real \"$@\"",
    );
    let environment = [
        "env".to_owned(),
        format!("NOTIFY_SOCKET={}", path.display()),
        format!("EPHYR_NFT={nft}"),
    ];
    let (rejected, watching) = std::thread::scope(|scope| {
        let listening = scope.spawn(|| {
            let mut buffer = [0; 4096];
            loop {
                let length = socket.recv(&mut buffer).unwrap();
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.contains("READY=1") {
                    return is_rejected(&net);
                }
            }
        });
        let words: Vec<&str> = environment.iter().map(String::as_str).collect();
        let watching = net.watch(&words);
        (listening.join().unwrap(), watching)
    });
    assert!(rejected, "READY=1 was sent before the table was in force");
    assert!(watching.stop());
}

#[test]
fn reload_ends_after_the_status_names_the_new_policy() {
    let Some(net) = Net::new() else { return };
    let path = net.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // Delays nft, so that a premature READY would arrive before the status is written.
    let nft = fake_nft(
        &net,
        "[ \"$1\" = -f ] || for n in 1 2 3 4 5 6 7 8 9; do $real --version > /dev/null; done\nexec $real \"$@\"",
    );
    let watching = net.watch(&[
        "env",
        &format!("NOTIFY_SOCKET={}", path.display()),
        &format!("EPHYR_NFT={nft}"),
    ]);
    let receive_until = |word: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            if String::from_utf8_lossy(&buffer[..length]).contains(word) {
                return;
            }
        }
    };
    receive_until("READY=1");
    let before = net.status()["policy"].clone();
    net.write_policy(&policy(&[PROVER]));
    watching.signal(Signal::HUP);
    receive_until("RELOADING=1");
    receive_until("READY=1");
    assert_ne!(net.status()["policy"], before);
    assert!(watching.stop());
}
