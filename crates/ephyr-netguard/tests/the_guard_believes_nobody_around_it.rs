//! The guard says what went wrong, takes no program of someone else's, and keeps no more rights than it needs.

#![cfg(test)]

mod net;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ephyr_names::Timestamp;
use net::{GUARD, Net, OUTSIDE, PROVER, SCOUT, policy, said, udp, wait_for};
use rustix::process::Signal;

/// A program `nft` of these lines, which may say `$real` for the real one; what names it to the guard.
fn own_nft(net: &Net, lines: &str) -> String {
    let bin = net.dir.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    // A shell in the same directory, since the guard lets nothing else be executed.
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

/// Whether the agent's packets are rejected.
fn walled(net: &Net) -> bool {
    net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53)).is_err()
}

#[test]
fn what_someone_changes_at_once_is_not_called_in_force() {
    let Some(net) = Net::new() else { return };
    let nft = own_nft(
        &net,
        "[ \"$1\" = -f ] || exec $real \"$@\"
text=$(while read -r line; do echo \"$line\"; done)
echo \"$text\" | $real -f - || exit 1
case $text in *'inet ephyr agents'*) $real insert rule inet ephyr output accept ;; esac",
    );
    let applied = guard_with(&net, &nft, "apply");
    assert_eq!(applied.status.code(), Some(75));
    let said = said(&applied);
    assert!(
        said.contains("differs all the same: chain output"),
        "{said}"
    );
    net.apply();
}

#[test]
fn a_ruleset_that_nft_refuses_leaves_what_was_there_and_says_why() {
    let Some(net) = Net::new() else { return };
    net.write_policy(&policy(&[SCOUT]));
    net.apply();
    let nft = own_nft(
        &net,
        "[ \"$1\" = -f ] || exec $real \"$@\"
text=$(while read -r line; do echo \"$line\"; done)
case $text in *'inet ephyr agents'*) echo 'no room' >&2; exit 1 ;; esac
echo \"$text\" | $real -f -",
    );
    net.write_policy(&policy(&[SCOUT, PROVER]));
    let applied = guard_with(&net, &nft, "apply");
    assert_eq!(applied.status.code(), Some(71));
    let said = said(&applied);
    assert!(
        said.contains("nft cannot load the table: no room"),
        "{said}"
    );
    assert!(walled(&net));
    // What could not be put in the old one's place stays beside it.
    let new = net.appliance.as_user(PROVER, || udp(OUTSIDE, 53));
    assert!(new.is_err());
    net.apply();
    let tables = net.appliance.run("nft list tables");
    assert_eq!(tables.trim(), "table inet ephyr");
}

#[test]
fn nft_is_not_taken_from_where_the_caller_happens_to_be() {
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
        said(&done)
    };
    let there = dir.path().join("there");
    let found = run(format!("here:{}", there.display()));
    assert!(found.contains("named"), "{found}");
    let found = run(format!("{}:here", dir.path().join("here").display()));
    assert!(
        found.contains("nearby"),
        "an absolute path is taken: {found}"
    );
}

#[test]
fn nft_gets_nothing_of_the_callers_environment() {
    let Some(net) = Net::new() else { return };
    let seen = net.dir.path().join("environ");
    let read = format!(
        "$real --version > {0}.version; exec 3< /proc/self/environ; while read -r line <&3; do echo \"$line\"; done \
         > {0}; set > {0}.set; exec $real \"$@\"",
        seen.display()
    );
    let nft = own_nft(&net, &read);
    let applied = guard_with(&net, &nft, "apply");
    assert!(applied.status.success(), "{}", said(&applied));
    let set = std::fs::read_to_string(seen.with_extension("set")).unwrap();
    assert!(set.contains("real="), "{set}");
    assert!(!set.contains("EPHYR_OF_THE_CALLER"), "{set}");
}

#[test]
fn a_policy_without_end_is_refused() {
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
        said(&done)
    };
    let endless = run(Path::new("/dev/zero"));
    assert!(endless.contains("only a regular file is read"), "{endless}");
    let long = tempfile::NamedTempFile::new().unwrap();
    long.as_file().set_len(1 << 40).unwrap();
    let told = run(long.path());
    assert!(told.contains("it is longer than"), "{told}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), policy(&[SCOUT])).unwrap();
    let other = run(file.path());
    assert!(other.contains("nft cannot load"), "{other}");
}

#[test]
fn a_check_counts_no_packet_instead_of_the_table_in_force() {
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
    // The kernel counts some few nowhere while tables change; an awake copy would count about half.
    let counted = net.rejected("scout");
    assert!(sent - counted < sent / 10, "{counted} of {sent}");
}

#[test]
fn a_change_is_seen_when_it_is_made_and_not_at_the_next_look() {
    let Some(net) = Net::new() else { return };
    let _watching = net.watch(&[]);
    let checked = || -> Timestamp { net.status()["checked"].as_str().unwrap().parse().unwrap() };
    // Whatever is changed is a reason to look. Without one it looks every five seconds.
    let look = |number: u32| {
        let before = checked();
        net.appliance
            .run(&format!("nft add table inet operators{number}"));
        wait_for("a look", || checked() != before);
        checked()
    };
    let first = look(0);
    let last = (1..=4).fold(first, |_, number| look(number));
    let took = last.unix_millis() - first.unix_millis();
    assert!(took < 15_000, "{took} ms for four changes");
}

#[test]
fn a_guard_that_watches_writes_nothing_but_its_status_nor_does_its_nft() {
    let Some(net) = Net::new() else { return };
    let elsewhere = net.dir.path().join("elsewhere");
    let mark = format!("(: > {})\nexec $real \"$@\"", elsewhere.display());
    let nft = own_nft(&net, &mark);
    let watching = net.watch(&["env", &format!("EPHYR_NFT={nft}")]);
    if net.status()["landlock_abi"] == 0 {
        ephyr_testkit::skip("this kernel has no Landlock");
        return;
    }
    assert!(!elsewhere.exists());
    assert!(watching.stop());
    let applied = guard_with(&net, &nft, "apply");
    assert!(applied.status.success(), "{}", said(&applied));
    assert!(elsewhere.exists(), "as `apply` it does not confine itself");
}

#[test]
fn everyone_may_read_what_the_guard_says_under_any_umask() {
    let Some(net) = Net::new() else { return };
    let _watching = net.watch(&["sh", "-c", "umask 077; exec \"$0\" \"$@\""]);
    let status = std::fs::metadata(net.status_file()).unwrap();
    assert_eq!(status.permissions().mode() & 0o777, 0o644);
}

/// A line of `/proc/PID/status`.
fn process(pid: &str, key: &str) -> u32 {
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
fn a_guard_that_watches_filters_its_system_calls() {
    let Some(net) = Net::new() else { return };
    let watching = net.watch(&[]);
    let pid = watching.pid().to_string();
    assert!(process(&pid, "Seccomp_filters") > process("self", "Seccomp_filters"));
    assert_eq!(process(&pid, "NoNewPrivs"), 1);
}

#[test]
fn a_kernel_that_confines_too_little_is_no_place_to_watch() {
    /// The highest that a policy may ask for.
    const MOST: u64 = 10;
    let Some(net) = Net::new() else { return };
    let watching = net.watch(&[]);
    let abi = net.status()["landlock_abi"].as_u64().unwrap();
    assert!(watching.stop());
    if abi >= MOST {
        ephyr_testkit::skip("this kernel confines all that a policy may ask for");
        return;
    }
    let text = policy(&[SCOUT]);
    net.write_policy(&format!("{text}sandbox: {{ minimum_abi: {MOST} }}\n"));
    let refused = net.appliance.within(|| {
        Command::new("timeout")
            .args(["20", GUARD, "watch", "--policy"])
            .arg(net.policy())
            .arg("--status")
            .arg(net.status_file())
            .output()
            .unwrap()
    });
    assert_eq!(refused.status.code(), Some(78), "{}", said(&refused));
    assert!(said(&refused).contains("Landlock"), "{}", said(&refused));
    net.write_policy(&format!("{text}sandbox: {{ minimum_abi: {abi} }}\n"));
    let _watching = net.watch(&[]);
}

#[test]
fn it_says_that_it_is_ready_when_the_table_is_in_force_and_not_before() {
    let Some(net) = Net::new() else { return };
    let path = net.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // Slow enough that a word too soon would be heard before there is a table.
    let nft = own_nft(
        &net,
        "[ \"$1\" != -f ] || $real --version > /dev/null\nexec $real \"$@\"",
    );
    let environment = [
        "env".to_owned(),
        format!("NOTIFY_SOCKET={}", path.display()),
        format!("EPHYR_NFT={nft}"),
    ];
    let (heard, watching) = std::thread::scope(|scope| {
        let listening = scope.spawn(|| {
            let mut buffer = [0; 4096];
            loop {
                let length = socket.recv(&mut buffer).unwrap();
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.contains("READY=1") {
                    return walled(&net);
                }
            }
        });
        let words: Vec<&str> = environment.iter().map(String::as_str).collect();
        let watching = net.watch(&words);
        (listening.join().unwrap(), watching)
    });
    assert!(heard, "at READY=1 the agent is not walled yet");
    assert!(watching.stop());
}

#[test]
fn a_reload_is_over_when_the_status_names_its_policy() {
    let Some(net) = Net::new() else { return };
    let path = net.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // Slow enough that a word too soon would be heard before the status is written.
    let nft = own_nft(
        &net,
        "[ \"$1\" = -f ] || for n in 1 2 3 4 5 6 7 8 9; do $real --version > /dev/null; done\nexec $real \"$@\"",
    );
    let watching = net.watch(&[
        "env",
        &format!("NOTIFY_SOCKET={}", path.display()),
        &format!("EPHYR_NFT={nft}"),
    ]);
    let hears = |word: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            if String::from_utf8_lossy(&buffer[..length]).contains(word) {
                return;
            }
        }
    };
    hears("READY=1");
    let before = net.status()["policy"].clone();
    net.write_policy(&policy(&[PROVER]));
    watching.signal(Signal::HUP);
    hears("RELOADING=1");
    hears("READY=1");
    assert_ne!(net.status()["policy"], before);
    assert!(watching.stop());
}
