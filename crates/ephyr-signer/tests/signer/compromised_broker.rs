//! A compromised broker sends arbitrary requests with the broker's credentials. The signer signs nothing outside the
//! policy and stays available.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::support::{World, checkpoint, exec, keygen, new_key, read_all};
use ephyr_names::{Digest, EpochId, TaskId, Ttl};
use ephyr_signer_ipc::{
    BrokerId, ErrorCode, Intent, PublicKeyBytes, Purpose, Reply, Request, encode,
};

fn code(reply: &Reply) -> ErrorCode {
    match reply {
        Reply::Error { code, .. } => *code,
        other => panic!("{other:?}"),
    }
}

type ForbiddenIntent = (&'static str, ErrorCode, fn(&mut Intent));

/// Forbidden intents: each is the granted intent with one change.
const FORBIDDEN: &[ForbiddenIntent] = &[
    ("another target", ErrorCode::NotGranted, |i| {
        i.target = "db".parse().unwrap();
    }),
    ("an unknown target", ErrorCode::NotGranted, |i| {
        i.target = "x".parse().unwrap();
    }),
    ("another agent", ErrorCode::NotGranted, |i| {
        i.agent = "helper".parse().unwrap();
    }),
    ("an unknown agent", ErrorCode::NotGranted, |i| {
        i.agent = "root".parse().unwrap();
    }),
    ("an unknown role", ErrorCode::NotGranted, |i| {
        i.role = "root".parse().unwrap();
    }),
    ("a lifetime of a day", ErrorCode::TtlTooLong, |i| {
        i.ttl = Ttl::from_secs(86_400);
    }),
    ("a lifetime of a year", ErrorCode::TtlTooLong, |i| {
        i.ttl = Ttl::from_secs(366 * 86_400);
    }),
    (
        "a target that needs approval",
        ErrorCode::ApprovalRequired,
        |i| {
            i.target = "vault".parse().unwrap();
        },
    ),
    (
        "an open certificate for a sealed role",
        ErrorCode::NotUnsealed,
        |i| {
            i.role = "read".parse().unwrap();
            i.purpose = Purpose::User;
        },
    ),
    (
        "an open certificate where approval is needed",
        ErrorCode::NotUnsealed,
        |i| {
            i.target = "vault".parse().unwrap();
            i.purpose = Purpose::Session;
        },
    ),
    (
        "a command that is not allowed",
        ErrorCode::CommandNotAllowed,
        |i| {
            i.role = "read".parse().unwrap();
            i.purpose = exec("cat /etc/shadow; id");
        },
    ),
    ("a NUL", ErrorCode::BadCommand, |i| {
        i.purpose = exec("id\0id");
    }),
    ("another policy", ErrorCode::PolicyMismatch, |i| {
        i.policy = Digest([1; 32]);
    }),
    ("a foreign lineage", ErrorCode::NotGranted, |i| {
        i.lineage = vec![
            (TaskId::from_bits(1), "helper".parse().unwrap()),
            (TaskId::from_bits(2), "lead".parse().unwrap()),
        ];
        i.task = Some(TaskId::from_bits(2));
    }),
    ("an RSA key", ErrorCode::BadPublicKey, |i| {
        i.public_key = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==".into();
    }),
];

#[test]
fn nothing_outside_the_policy_is_signed() {
    let world = World::running();
    assert_eq!(
        world.granted(&world.intent()).valid_principals(),
        ["web/operator"]
    );
    for (name, expected, change) in FORBIDDEN {
        let mut intent = world.intent();
        change(&mut intent);
        assert_eq!(code(&world.sign(&intent)), *expected, "{name}");
    }
    assert_eq!(world.events("issued").len(), 1);
    let recorded: BTreeSet<String> = world
        .events("refused")
        .iter()
        .map(|entry| entry["code"].as_str().unwrap().to_owned())
        .collect();
    let expected: BTreeSet<String> = FORBIDDEN.iter().map(|one| one.1.to_string()).collect();
    assert_eq!(recorded, expected);
}

#[test]
fn ssh_keygen_shows_the_fields_that_the_policy_grants() {
    let world = World::running();
    let mut intent = world.intent();
    intent.ttl = Ttl::from_secs(600);
    intent.purpose = exec("cat 'a b' \"$HOME\"");
    let Reply::Certificate {
        certificate,
        serial,
        ..
    } = world.sign(&intent)
    else {
        panic!("refused");
    };
    let shown = keygen(world.dir.path(), &certificate);
    let serial_line = format!("Serial: {}", serial.0);
    let key_id = format!("Key ID: \"ephyr:lead@web/operator:-:{serial}\"");
    for part in [
        "user certificate",
        &serial_line,
        &key_id,
        "web/operator",
        "force-command",
        "Extensions: (none)",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let parsed = world.checked(&certificate);
    let sealed = ephyr_policy::sealed_command("cat 'a b' \"$HOME\"");
    assert_eq!(
        parsed.critical_options().get("force-command"),
        Some(&sealed)
    );
    assert_eq!(parsed.valid_before() - parsed.valid_after(), 90);
    intent.role = "shell".parse().unwrap();
    intent.purpose = Purpose::Session;
    let open = world.granted(&intent);
    assert_eq!(open.valid_principals(), ["web/shell"]);
    assert_eq!(open.valid_before() - open.valid_after(), 630);
    assert!(open.critical_options().is_empty());
    assert_eq!(open.extensions().keys().collect::<Vec<_>>(), ["permit-pty"]);
}

#[test]
fn serials_and_nonces_do_not_repeat() {
    let world = World::running();
    let intent = world.intent();
    let issued: Vec<_> = (0..50).map(|_| world.granted(&intent)).collect();
    let serials: BTreeSet<_> = issued.iter().map(ssh_key::Certificate::serial).collect();
    let nonces: BTreeSet<_> = issued.iter().map(|c| c.nonce().to_vec()).collect();
    assert_eq!((serials.len(), nonces.len()), (50, 50));
}

#[test]
fn delegations_and_heads_stay_within_their_rules() {
    let world = World::running();
    let delegate = |mint_for: Option<u64>, key: [u8; 32]| {
        world.ask(&Request::Delegate {
            epoch: EpochId::from_bits(1),
            public_key: PublicKeyBytes(key),
            broker_id: BrokerId::new("b").unwrap(),
            mint_for: mint_for.map(Ttl::from_secs),
        })
    };
    let key = new_key().public_key().key_data().ed25519().unwrap().0;
    let Reply::Delegation {
        issued_at,
        mint_until,
        valid_until,
        ..
    } = delegate(None, key)
    else {
        panic!("refused");
    };
    assert_eq!(mint_until.since(issued_at), Ttl::from_secs(3600));
    assert_eq!(valid_until.since(mint_until), Ttl::from_secs(3600));
    let recorded = world.events("delegated");
    assert_eq!(recorded.len(), 1, "before the reply was sent");
    assert_eq!(recorded[0]["broker_id"], "b");
    assert_eq!(
        code(&delegate(Some(10 * 86_400), key)),
        ErrorCode::TtlTooLong
    );
    assert_eq!(code(&delegate(Some(0), key)), ErrorCode::TtlTooLong);
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert_eq!(code(&delegate(None, neutral)), ErrorCode::BadPublicKey);
    let head = |from, hash: u8| world.ask(&checkpoint(9, from, &[[hash; 32]]));
    assert!(matches!(head(0, 1), Reply::Checkpoint { count: 1, .. }));
    let Reply::Error { code, expected, .. } = head(0, 2) else {
        panic!("a rewritten head was signed");
    };
    assert_eq!((code, expected), (ErrorCode::CheckpointMismatch, Some(1)));
    assert!(matches!(head(1, 2), Reply::Checkpoint { count: 2, .. }));
}

#[test]
fn malformed_frames_get_an_error_and_affect_no_other_caller() {
    let world = World::running();
    let whole = encode(&Request::Ping {}).unwrap();
    let garbage: [&[u8]; 7] = [
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\0\x01\0\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x02{}",
        b"\0\0\0\x19{\"certify\":{\"role\":\"x\"}}}",
        &[whole.as_slice(), b"x"].concat(),
    ];
    for bytes in garbage {
        let mut stream = world.connect();
        stream.write_all(bytes).unwrap();
        let reply = read_all(&mut stream);
        let text = String::from_utf8_lossy(&reply[4..]);
        assert!(text.contains("malformed"), "{bytes:?}: {text}");
    }
    for seed in 0..300u32 {
        let noise: Vec<u8> = (0..200u32)
            .map(|i| {
                (seed.wrapping_mul(2_654_435_761).wrapping_add(i * i * 31) >> 7).to_le_bytes()[0]
            })
            .collect();
        let mut stream = world.connect();
        let _ = stream.write_all(&noise);
    }
    assert!(matches!(world.ask(&Request::Ping {}), Reply::Pong { .. }));
    let malformed = world.events("refused");
    assert!(
        malformed.len() < 10,
        "repetitions must be aggregated: {}",
        malformed.len()
    );
}

#[test]
fn next_caller_is_served_after_ten_thousand_connections() {
    let world = World::running();
    let mut kept: Vec<UnixStream> = Vec::new();
    for n in 0..10_000 {
        let mut stream = world.connect();
        if n % 3 == 0 {
            let _ = stream.write_all(b"\0\0");
        }
        if n % 7 == 0 {
            kept.push(stream);
        }
        if kept.len() > 200 {
            kept.clear();
        }
        if n % 1000 == 0 {
            assert!(matches!(world.ask(&Request::Ping {}), Reply::Pong { .. }));
        }
    }
    assert_eq!(
        world.granted(&world.intent()).valid_principals(),
        ["web/operator"]
    );
}

#[test]
fn new_connection_displaces_the_oldest_stalled_one() {
    let world = World::running();
    // On a loaded machine the deadline may pass first, so retry.
    assert!((0..3).any(|_| oldest_is_displaced(&world)));
}

/// Returns whether only the oldest of 64 stalled connections was displaced. If the second, opened right after it, can
/// still finish, the deadline of neither had passed.
fn oldest_is_displaced(world: &World) -> bool {
    let mut stalled: Vec<UnixStream> = (0..64).map(|_| world.connect()).collect();
    for stream in &mut stalled {
        let _ = stream.write_all(b"\0\0\0\x0b{\"pi");
    }
    assert!(matches!(world.ask(&Request::Ping {}), Reply::Pong { .. }));
    let mut can_finish = |at: usize| {
        let _ = stalled[at].write_all(b"ng\":{}}");
        String::from_utf8_lossy(&read_all(&mut stalled[at])).contains("pong")
    };
    !can_finish(0) && can_finish(1)
}

#[test]
fn unfinished_request_is_dropped_at_the_deadline() {
    let world = World::running();
    let mut stream = world.connect();
    stream.write_all(b"\0\0\0\x0b{\"ping").unwrap();
    assert_eq!(read_all(&mut stream), b"");
    assert!(matches!(world.ask(&Request::Ping {}), Reply::Pong { .. }));
}
