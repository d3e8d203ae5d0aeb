//! Tests that the signer refuses key and policy files that are not regular or too long.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use crate::support::{SIGNER_UID, WIDE, World, is_root, policy_text};

#[test]
fn ca_key_must_be_a_regular_file_of_limited_size() {
    let mut world = World::new(WIDE);
    let key = world.path("ca_key");
    let text = fs::read(&key).unwrap();
    let own = || {
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            chown(&key, Some(SIGNER_UID), Some(SIGNER_UID)).unwrap();
        }
    };
    let refused = || {
        let stderr = world.fails_to_start();
        assert!(stderr.contains("ca_key is not a regular file"), "{stderr}");
    };
    fs::remove_file(&key).unwrap();
    // A FIFO without a writer must not block the start.
    let made = Command::new("mkfifo").arg(&key).status().unwrap();
    assert!(made.success());
    own();
    refused();
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    own();
    refused();
    fs::remove_dir(&key).unwrap();
    let padded = [text.clone(), vec![b'\n'; 16 * 1024]].concat();
    fs::write(&key, padded).unwrap();
    own();
    refused();
    fs::write(&key, text).unwrap();
    world.start();
}

#[test]
fn policy_over_one_mebibyte_is_refused_also_by_check() {
    let mut world = World::new(WIDE);
    let padded = |length: usize| {
        let mut text = policy_text(WIDE) + "\n#";
        text.push_str(&"x".repeat(length - text.len() - 1));
        text + "\n"
    };
    let check = |world: &World| {
        let output = world.command().arg("--check").output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    world.write_policy(&padded(1024 * 1024 + 1));
    for stderr in [world.fails_to_start(), check(&world)] {
        assert!(
            stderr.contains("policy.yaml: it is longer than"),
            "{stderr}"
        );
    }
    world.write_policy(&padded(1024 * 1024));
    assert_eq!(check(&world), "");
    world.start();
}

#[test]
fn check_verifies_the_broker_user_and_the_landlock_abi() {
    let mut world = World::new(WIDE);
    let check = |world: &World| {
        let output = world.command().arg("--check").output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let broker = std::mem::replace(&mut world.broker_user, "no-such-user-anywhere".into());
    assert!(check(&world).contains("no-such-user-anywhere"));
    world.broker_user = broker;
    assert_eq!(check(&world), "");
    world.write_policy(&(policy_text(WIDE) + "sandbox: { minimum_abi: 10 }\n"));
    let stderr = check(&world);
    if stderr.is_empty() {
        // The kernel offers ABI 10.
        world.start();
    } else {
        assert!(stderr.contains("10 is demanded"), "{stderr}");
        assert!(world.fails_to_start().contains("10 is demanded"));
    }
}
