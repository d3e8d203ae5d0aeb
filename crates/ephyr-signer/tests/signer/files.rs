//! What the signer does not read: a key that is no file, a policy without end.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use crate::support::{SIGNER_UID, WIDE, World, is_root, policy_text};

#[test]
fn a_key_is_a_regular_file_of_a_keys_size() {
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
        let said = world.fails_to_start();
        assert!(said.contains("ca_key is no regular file"), "{said}");
    };
    fs::remove_file(&key).unwrap();
    // A pipe that nobody writes to must not hold up the start either.
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
fn a_policy_has_a_megabyte_at_most_and_a_check_says_so_too() {
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
    for said in [world.fails_to_start(), check(&world)] {
        assert!(said.contains("policy.yaml: it is longer than"), "{said}");
    }
    world.write_policy(&padded(1024 * 1024));
    assert_eq!(check(&world), "");
    world.start();
}

#[test]
fn a_check_asks_who_the_broker_is_and_what_the_kernel_has() {
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
    let said = check(&world);
    if said.is_empty() {
        // A kernel that has all of it.
        world.start();
    } else {
        assert!(said.contains("10 is demanded"), "{said}");
        assert!(world.fails_to_start().contains("10 is demanded"));
    }
}
