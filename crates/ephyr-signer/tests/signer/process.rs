//! Tests of the running process: access to the socket, startup checks, signals, limits, sandbox.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use ephyr_signer_ipc::{ErrorCode, Reply, Request};
use rustix::process::Signal;

use crate::support::{
    OTHER_UID, PATIENCE, SIGNER_UID, WIDE, World, as_user, exec, is_root, new_key, policy_text,
    read_all,
};

#[test]
fn w8_users_other_than_the_broker_are_refused() {
    let mut world = World::new(WIDE);
    world.broker_user = OTHER_UID.to_string();
    world.start();
    for _ in 0..20 {
        assert!(world.try_ask(&Request::Ping {}).is_err());
    }
    let mut silent = world.connect();
    assert_eq!(
        read_all(&mut silent),
        b"",
        "closed without waiting for a request"
    );
    let refusals = world.events("refused");
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(
        (&refusals[0]["code"], &refusals[0]["uid"]),
        (&"stranger".into(), &own.into())
    );
}

#[test]
fn w8_start_requires_an_existing_broker_user() {
    let mut world = World::new(WIDE);
    world.broker_user = "no-such-user-anywhere".into();
    assert!(world.fails_to_start().contains("no-such-user-anywhere"));
    world.broker_user = String::new();
    assert!(!world.fails_to_start().is_empty());
    let bare = Command::new(env!("CARGO_BIN_EXE_ephyr-signer"))
        .arg("--ca-key")
        .arg(world.path("ca_key"))
        .env_remove("EPHYR_BROKER_USER")
        .output()
        .unwrap();
    assert_eq!(bare.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&bare.stderr).contains("--broker-user is required"));
}

#[test]
fn w8_socket_is_accessible_only_to_its_user_and_group() {
    let world = World::running();
    let metadata = fs::metadata(world.socket()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
    if is_root() {
        assert_eq!(metadata.uid(), SIGNER_UID);
    }
}

#[test]
fn w9_key_readable_by_others_is_refused() {
    let world = World::new(WIDE);
    let key = world.path("ca_key");
    for mode in [0o644, 0o640, 0o660, 0o604, 0o622] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let stderr = world.fails_to_start();
        assert!(
            stderr.contains("others may read it") && stderr.contains(&format!("{mode:04o}")),
            "{stderr}"
        );
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    let mut world = world;
    world.start();
}

#[test]
fn key_missing_from_the_operators_list_is_refused() {
    let mut world = World::new(WIDE);
    let list = world.path("listed");
    let other = new_key().public_key().to_openssh().unwrap();
    let own = world.ca.to_openssh().unwrap();
    world
        .environment
        .push(("EPHYR_CA_PUB", list.display().to_string()));
    let stderr = world.fails_to_start();
    assert!(stderr.contains("the list of CA public keys"), "{stderr}");
    fs::write(&list, format!("{other}\n")).unwrap();
    let stderr = world.fails_to_start();
    assert!(stderr.contains("is not listed in"), "{stderr}");
    fs::write(
        &list,
        format!("# the next key\n{other}\n# in force\n{own}\n"),
    )
    .unwrap();
    world.start();
    assert!(!world.log().contains("--ca-pub"), "{}", world.log());
    let unlisted = World::running();
    let stderr = unlisted.log();
    assert_eq!(stderr.matches("without --ca-pub").count(), 1, "{stderr}");
}

#[test]
fn w9_key_of_another_user_is_refused() {
    if !is_root() {
        return ephyr_testkit::skip("needs a second user, which only root can be");
    }
    let world = World::new(WIDE);
    let key = world.path("ca_key");
    chown(&key, Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    let stderr = world.fails_to_start();
    assert!(stderr.contains("ca_key"), "{stderr}");
    // Also if the signer can read it because it runs as root.
    let mut world = world;
    world.wrapper.clear();
    let stderr = world.fails_to_start();
    assert!(
        stderr.contains(&format!("belongs to user {OTHER_UID}")),
        "{stderr}"
    );
}

#[test]
fn w9_broker_cannot_read_key_journal_or_memory() {
    if !is_root() {
        return ephyr_testkit::skip("needs a second user, which only root can be");
    }
    let world = World::running();
    let reads = |uid: u32, path: &str| {
        let line = as_user(uid);
        let read = Command::new(&line[0])
            .args(&line[1..])
            .args(["cat", path])
            .output()
            .unwrap();
        read.status.success()
    };
    let key = world.path("ca_key");
    let journal = world.journal();
    let memory = format!("/proc/{}/environ", world.pid().as_raw_nonzero());
    assert!(reads(SIGNER_UID, key.to_str().unwrap()));
    assert!(reads(SIGNER_UID, journal.to_str().unwrap()));
    for path in [key.to_str().unwrap(), journal.to_str().unwrap(), &memory] {
        assert!(!reads(OTHER_UID, path), "{path}");
    }
    assert!(
        !reads(SIGNER_UID, &memory),
        "not even its own user can read its /proc files"
    );
}

#[test]
fn only_an_unencrypted_ed25519_key_file_is_accepted() {
    let world = World::new(WIDE);
    let key = world.path("ca_key");
    let own = |path: &std::path::Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            chown(path, Some(SIGNER_UID), Some(SIGNER_UID)).unwrap();
        }
    };
    let moved = world.path("moved");
    fs::rename(&key, &moved).unwrap();
    symlink(&moved, &key).unwrap();
    assert!(world.fails_to_start().contains("ca_key"));
    for (options, expected) in [
        (["-t", "ecdsa", "-N", ""], "not an Ed25519 key"),
        (["-t", "ed25519", "-N", "secret"], "passphrase"),
    ] {
        fs::remove_file(&key).unwrap();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-f"])
            .arg(&key)
            .args(options)
            .output();
        assert!(made.unwrap().status.success());
        own(&key);
        let stderr = world.fails_to_start();
        assert!(
            stderr.contains(expected) || stderr.contains("not an OpenSSH private key"),
            "{stderr}"
        );
    }
    fs::write(&key, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    own(&key);
    assert!(
        world
            .fails_to_start()
            .contains("not an OpenSSH private key")
    );
}

#[test]
fn w30_invalid_key_file_is_an_error_that_leaks_no_content() {
    let mut world = World::new(WIDE);
    let key = world.path("ca_key");
    let whole = fs::read(&key).unwrap();
    // Overwritten in place, so that owner and mode stay.
    let mut contents: Vec<Vec<u8>> = (0..=5).map(|length| b"Qx7Zp"[..length].to_vec()).collect();
    let half = &whole[..whole.len() / 2];
    contents.extend([half.to_vec(), vec![0xff; 4], vec![0; 4]]);
    for content in contents {
        fs::write(&key, &content).unwrap();
        let stderr = world.fails_to_start();
        let named = stderr.contains("ca_key") && stderr.contains("is not an OpenSSH private key");
        assert!(named && !stderr.contains("panic"), "{content:?}: {stderr}");
        let shown = ["Qx7", "x7Z", "7Zp", "BEGIN", "b3BlbnNza"];
        assert!(!shown.iter().any(|part| stderr.contains(part)), "{stderr}");
    }
    fs::write(&key, &whole).unwrap();
    world.start();
}

#[test]
fn check_accepts_what_a_reload_accepts_and_reports_errors() {
    let world = World::new(WIDE);
    let check = || {
        let mut command = world.command();
        let output = command.arg("--check").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    };
    assert_eq!(check(), (Some(0), String::new()));
    assert!(!world.socket().exists() && !world.journal().exists());
    world.write_policy(&(policy_text(WIDE) + "rolse: {}\n"));
    let (status, stderr) = check();
    assert_eq!(status, Some(78), "{stderr}");
    assert!(stderr.contains("rolse"), "{stderr}");
    let policy = world.path("policy.yaml");
    world.write_policy(&policy_text(WIDE));
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(check().1.contains("can be written by everyone"));
    fs::remove_file(&policy).unwrap();
    let (status, stderr) = check();
    assert_eq!(status, Some(78), "{stderr}");
    assert!(stderr.contains("policy.yaml"), "{stderr}");
}

#[test]
fn policy_writable_by_the_broker_or_everyone_is_refused() {
    let mut world = World::new(WIDE);
    let policy = world.path("policy.yaml");
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(
        world
            .fails_to_start()
            .contains("can be written by everyone")
    );
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o644)).unwrap();
    if is_root() {
        world.broker_user = OTHER_UID.to_string();
        chown(&policy, Some(OTHER_UID), None).unwrap();
        assert!(
            world
                .fails_to_start()
                .contains("can be written by the broker")
        );
        chown(&policy, Some(0), None).unwrap();
        let directory = policy.parent().unwrap();
        chown(directory, Some(OTHER_UID), None).unwrap();
        assert!(
            world
                .fails_to_start()
                .contains("can be written by the broker")
        );
        chown(directory, Some(0), None).unwrap();
    }
    world.start();
}

#[test]
fn w10_running_program_enforces_the_rate_limits() {
    let mut world = World::new("rate_limit: 5/10m, global_rate_limit: 8/10m");
    world.start();
    let code = |reply: Reply| match reply {
        Reply::Error { code, .. } => Some(code),
        _ => None,
    };
    let lead = world.intent();
    for _ in 0..5 {
        assert_eq!(code(world.sign(&lead)), None);
    }
    assert_eq!(code(world.sign(&lead)), Some(ErrorCode::RateLimited));
    let mut helper = world.intent();
    helper.agent = "helper".parse().unwrap();
    helper.role = "read".parse().unwrap();
    for _ in 0..3 {
        assert_eq!(
            code(world.sign(&helper)),
            None,
            "each agent has its own limit"
        );
    }
    assert_eq!(
        code(world.sign(&helper)),
        Some(ErrorCode::RateLimited),
        "the global limit is reached"
    );
    for _ in 0..100 {
        assert_eq!(code(world.sign(&lead)), Some(ErrorCode::RateLimited));
    }
    assert_eq!(world.events("issued").len(), 8);
    assert!(
        world.events("refused").len() <= 2,
        "repeated refusals must be aggregated"
    );
    assert!(matches!(world.ask(&Request::Ping {}), Reply::Pong { .. }));
    world.signal(Signal::TERM);
    assert!(world.ended().success());
    let counted: u64 = world
        .events("refused")
        .iter()
        .filter_map(|e| e["count"].as_u64())
        .sum();
    assert_eq!(counted, 102, "shutdown must write the remaining counts");
}

#[test]
fn w29_sigterm_and_sigint_stop_it_cleanly_without_spinning() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut world = World::running();
        world.granted(&world.intent());
        let _stalled = world.connect();
        let log_before = world.log().len();
        world.signal(signal);
        let status = world.ended();
        assert_eq!(status.code(), Some(0), "{status:?} {}", world.log());
        assert!(world.log().len() < log_before + 200, "{}", world.log());
        assert_eq!(world.entries().last().unwrap()["event"], "stopped");
    }
}

#[test]
fn idle_signer_uses_no_cpu_time() {
    let world = World::running();
    let _stalled = world.connect();
    world.ask(&Request::Ping {});
    let wakeups = || {
        let pid = world.pid().as_raw_nonzero();
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"))
            .unwrap();
        line.rsplit('\t').next().unwrap().parse::<u64>().unwrap()
    };
    let before = wakeups();
    std::thread::sleep(Duration::from_millis(500));
    // A spinning loop would wake up thousands of times.
    assert!(wakeups() - before < 10);
}

#[test]
fn sighup_loads_a_valid_policy_and_keeps_the_old_one_otherwise() {
    let world = World::running();
    let intent = world.intent();
    let first = world.policy_hash();
    world.write_policy(
        &policy_text(WIDE).replace("allowed_roles: [operator]", "allowed_roles: [nowhere]"),
    );
    world.signal(Signal::HUP);
    world.wait_for_log("the old policy stays");
    assert!(
        world.log().contains("policy.yaml:"),
        "each finding names its location: {}",
        world.log()
    );
    world.granted(&intent);
    world.write_policy(
        &policy_text(WIDE).replace("[read, operator, shell] }, vault", "[read, shell] }, vault"),
    );
    world.signal(Signal::HUP);
    world.wait_for_log(&format!("policy {} loaded", world.policy_hash()));
    let Reply::Pong { policy, .. } = world.ask(&Request::Ping {}) else {
        panic!("no pong");
    };
    assert_eq!(policy, world.policy_hash());
    let refused = |intent| match world.sign(intent) {
        Reply::Error { code, .. } => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&intent), ErrorCode::PolicyMismatch);
    assert_eq!(refused(&world.intent()), ErrorCode::NotGranted);
    assert_ne!(first, world.policy_hash());
}

#[test]
fn policy_that_is_not_a_regular_file_is_refused() {
    let mut world = World::running();
    let first = world.intent();
    let policy = world.path("policy.yaml");
    let longer = " ".repeat(1024 * 1024);
    let put: [(&str, &dyn Fn()); 4] = [
        ("it is a FIFO", &|| {
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &policy, kind, mode, 0).unwrap();
        }),
        ("it is a socket", &|| {
            drop(std::os::unix::net::UnixListener::bind(&policy).unwrap());
        }),
        ("it is a character device", &|| {
            symlink("/dev/zero", &policy).unwrap();
        }),
        ("it is longer than", &|| {
            fs::write(&policy, policy_text(WIDE) + &longer).unwrap();
        }),
    ];
    for (why, put) in put {
        fs::remove_file(&policy).unwrap();
        put();
        world.signal(Signal::HUP);
        world.wait_for_log(why);
        // The old policy is still in force.
        world.granted(&first);
        let check = world.command().arg("--check").output().unwrap();
        let stderr = String::from_utf8_lossy(&check.stderr).into_owned();
        assert_eq!(check.status.code(), Some(78), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
    }
    assert_eq!(world.log().matches("the old policy stays").count(), 4);
    world.write_policy(&(policy_text(WIDE) + "\n# another one\n"));
    world.signal(Signal::HUP);
    world.wait_for_log(&format!("policy {} loaded", world.policy_hash()));
    world.signal(Signal::TERM);
    assert!(world.ended().success());
}

#[test]
fn systemd_is_notified_of_every_state_change() {
    let mut world = World::new(WIDE);
    let path = world.path("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    world.environment = vec![
        ("NOTIFY_SOCKET", path.to_str().unwrap().to_owned()),
        ("WATCHDOG_USEC", "200000".to_owned()),
    ];
    world.start();
    let next = |wanted: &str| {
        let mut buffer = [0; 300];
        loop {
            let n = systemd.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            if text.starts_with(wanted) {
                return text;
            }
            assert!(
                text.starts_with("WATCHDOG=1") || text.starts_with("STATUS="),
                "{text}"
            );
        }
    };
    next("READY=1");
    // Two of them, without any request.
    next("WATCHDOG=1");
    next("WATCHDOG=1");
    world.signal(Signal::HUP);
    assert!(next("RELOADING=1").contains("MONOTONIC_USEC="));
    next("READY=1");
    world.signal(Signal::TERM);
    next("STOPPING=1");
    assert!(world.ended().success());
}

#[test]
fn ping_reports_version_policy_and_sandbox() {
    let world = World::running();
    let Reply::Pong {
        version,
        policy,
        sandbox,
        ..
    } = world.ask(&Request::Ping {})
    else {
        panic!("no pong");
    };
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    assert_eq!(policy, world.policy_hash());
    assert!(sandbox.seccomp && sandbox.non_dumpable);
    let Reply::RootPublicKey { public_key } = world.ask(&Request::RootPublicKey {}) else {
        panic!("no key");
    };
    let key = ssh_key::PublicKey::from_openssh(&public_key).unwrap();
    assert_eq!(key.key_data(), world.ca.key_data());
}

#[test]
fn proc_shows_the_confinement() {
    let world = World::running();
    world.granted(&world.intent());
    let pid = world.pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit('\t').next().unwrap().to_owned()
    };
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Threads:"), "1");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"));
    if let Ok(limits) = limits {
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core"))
            .unwrap();
        assert!(core.contains(" 0 "), "{core}");
    }
}

#[test]
fn serving_signer_can_read_only_the_policys_directory() {
    let world = World::running();
    let Reply::Pong { sandbox, .. } = world.ask(&Request::Ping {}) else {
        panic!("no pong");
    };
    if sandbox.landlock_abi == 0 {
        return;
    }
    let elsewhere = tempfile::tempdir().unwrap();
    fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let moved = elsewhere.path().join("policy.yaml");
    fs::copy(world.path("policy.yaml"), &moved).unwrap();
    fs::remove_file(world.path("policy.yaml")).unwrap();
    symlink(&moved, world.path("policy.yaml")).unwrap();
    world.signal(Signal::HUP);
    world.wait_for_log("the old policy stays");
    assert!(world.log().contains("ermission denied"), "{}", world.log());
}

#[test]
fn log_and_journal_contain_no_commands_or_keys() {
    let world = World::running();
    let mut intent = world.intent();
    intent.purpose = exec("mysql -p'hunter2-very-secret'");
    world.granted(&intent);
    intent.public_key = new_key().public_key().to_openssh().unwrap();
    intent.role = "read".parse().unwrap();
    world.sign(&intent);
    let journal = fs::read_to_string(world.journal()).unwrap();
    for text in [world.log(), journal] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert_eq!(
        world.events("issued")[0]["command"].as_str().unwrap().len(),
        64
    );
}

#[test]
fn stale_socket_is_replaced_and_one_in_use_is_not() {
    let mut world = World::running();
    assert!(world.fails_to_start().contains("another process"));
    world.signal(Signal::KILL);
    assert_eq!(world.ended().signal(), Some(9));
    world.start();
    world.granted(&world.intent());
}
