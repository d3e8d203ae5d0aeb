//! The wire format between broker and signer: round trips and refusals.

use std::io::{Cursor, Read, Write};

use ephyr_names::{Digest, EpochId, MAX_COMMAND_BYTES, RecordId, Serial, TaskId, Timestamp, Ttl};
use ephyr_signer_ipc::{
    BrokerId, ErrorCode, ExchangeError, FrameError, FrameReader, Intent, MAX_CHECKPOINT_HASHES,
    MAX_FRAME, PublicKeyBytes, Purpose, Reply, Request, SandboxReport, decode, encode, exchange,
};
use proptest::prelude::*;

#[cfg(test)]
mod strategies {
    use super::*;

    fn purpose() -> impl Strategy<Value = Purpose> {
        prop_oneof![
            ("[^\0]{1,200}", proptest::option::of(any::<[u8; 32]>())).prop_map(
                |(command, digest)| {
                    Purpose::Exec {
                        command,
                        stdin_digest: digest.map(Digest),
                    }
                }
            ),
            Just(Purpose::Session),
            Just(Purpose::User),
            Just(Purpose::Check),
        ]
    }

    fn intent() -> impl Strategy<Value = Intent> {
        let name = "[a-z][a-z0-9._-]{0,62}";
        let lineage = proptest::collection::vec((any::<u128>(), name), 0..6);
        (
            any::<[u8; 32]>(),
            (name, name, name),
            0..100_000u64,
            ".{0,80}",
            purpose(),
            lineage,
        )
            .prop_map(
                |(policy, (agent, target, role), ttl, public_key, purpose, lineage)| {
                    let lineage: Vec<_> = lineage
                        .into_iter()
                        .map(|(id, agent)| (TaskId::from_bits(id), agent.parse().unwrap()))
                        .collect();
                    Intent {
                        policy: Digest(policy),
                        agent: agent.parse().unwrap(),
                        target: target.parse().unwrap(),
                        role: role.parse().unwrap(),
                        ttl: Ttl::from_secs(ttl),
                        public_key,
                        purpose,
                        task: lineage.last().map(|(task, _)| *task),
                        lineage,
                    }
                },
            )
    }

    pub(super) fn request() -> impl Strategy<Value = Request> {
        let hashes = proptest::collection::vec(any::<[u8; 32]>(), 0..=MAX_CHECKPOINT_HASHES);
        let delegate = (
            any::<u128>(),
            any::<[u8; 32]>(),
            "[A-Za-z0-9._-]{1,64}",
            any::<bool>(),
        );
        prop_oneof![
            Just(Request::Ping {}),
            Just(Request::RootPublicKey {}),
            intent().prop_map(|intent| Request::Sign { intent }),
            (any::<u128>(), any::<u64>(), hashes).prop_map(|(log, from, hashes)| {
                Request::Checkpoint {
                    log: RecordId::from_bits(log),
                    from,
                    hashes: hashes.into_iter().map(Digest).collect(),
                }
            }),
            delegate.prop_map(|(epoch, key, id, ttl)| Request::Delegate {
                epoch: EpochId::from_bits(epoch),
                public_key: PublicKeyBytes(key),
                broker_id: BrokerId::new(id).unwrap(),
                mint_for: ttl.then(|| Ttl::from_secs(3600)),
            }),
        ]
    }
}

use strategies::request;

proptest! {
    #[test]
    fn every_request_round_trips_in_any_fragmentation(
        request in request(),
        pieces in proptest::collection::vec(1..5000usize, 1..50),
    ) {
        let frame = encode(&request).unwrap();
        let mut reader = FrameReader::new();
        let mut rest = frame.as_slice();
        let mut sizes = pieces.iter().cycle();
        let body = loop {
            let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            rest = later;
            if let Some(body) = reader.feed(now).unwrap() {
                break body.to_vec();
            }
            prop_assert!(!rest.is_empty(), "the frame ended before its body was complete");
        };
        prop_assert!(rest.is_empty());
        prop_assert_eq!(decode::<Request>(&body).unwrap(), request);
    }

    #[test]
    fn damaged_frame_is_refused_or_another_valid_message(
        request in request(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut frame = encode(&request).unwrap();
        let at = at.index(frame.len());
        frame[at] = byte;
        let mut reader = FrameReader::new();
        if let Ok(Some(body)) = reader.feed(&frame)
            && let Ok(other) = decode::<Request>(body)
        {
            let again = encode(&other).unwrap();
            prop_assert_eq!(decode::<Request>(&again[4..]).unwrap(), other);
        }
    }

    #[test]
    fn unknown_field_is_refused_at_every_level(request in request()) {
        let text = String::from_utf8(encode(&request).unwrap()[4..].to_vec()).unwrap();
        prop_assert!(decode::<Request>(text.as_bytes()).is_ok());
        for (at, _) in text.match_indices('{') {
            if text[..at].matches('"').count() % 2 == 1 || text.contains("\\\"") {
                continue; // a brace inside a command or key
            }
            let comma = if text[at + 1..].starts_with('}') { "" } else { "," };
            let bad = format!("{}\"x\":1{comma}{}", &text[..=at], &text[at + 1..]);
            prop_assert!(decode::<Request>(bad.as_bytes()).is_err(), "{}", bad);
        }
    }
}

#[test]
fn requests_match_the_documented_json() {
    let text = r#"{"sign":{"intent":{"policy":"0000000000000000000000000000000000000000000000000000000000000000","agent":"claude","target":"web","role":"read","ttl":"1m","public_key":"ssh-ed25519 AAAA","purpose":{"exec":{"command":"uptime"}},"task":"01ARZ3NDEKTSV4RRFFQ69G5FAV","lineage":[["01ARZ3NDEKTSV4RRFFQ69G5FAV","claude"]]}}}"#;
    let request: Request = decode(text.as_bytes()).unwrap();
    assert_eq!(encode(&request).unwrap()[4..], *text.as_bytes());
    assert_eq!(
        encode(&Request::Ping {}).unwrap(),
        *b"\0\0\0\x0b{\"ping\":{}}"
    );
}

#[test]
fn every_reply_round_trips() {
    let now = Timestamp::from_unix_millis(1_795_500_000_123);
    let replies = [
        Reply::Pong {
            version: "0.1.0".into(),
            policy: Digest([7; 32]),
            uptime_seconds: 3,
            sandbox: SandboxReport {
                landlock_abi: 6,
                landlock: vec!["files".into()],
                seccomp: true,
                memory_locked: false,
                non_dumpable: true,
            },
        },
        Reply::Certificate {
            certificate: "ssh-ed25519-cert-v01@openssh.com AAAA".into(),
            serial: Serial(u64::MAX),
            expires: now,
        },
        Reply::Delegation {
            epoch: EpochId::from_bits(1),
            broker_id: BrokerId::new("b").unwrap(),
            public_key: PublicKeyBytes([9; 32]),
            issued_at: now,
            mint_until: now,
            valid_until: now,
            signature: "-----BEGIN SSH SIGNATURE-----".into(),
        },
        Reply::Checkpoint {
            log: RecordId::from_bits(2),
            count: 1000,
            head: Digest([1; 32]),
            time: now,
            signature: String::new(),
        },
        Reply::RootPublicKey {
            public_key: "ssh-ed25519 AAAA".into(),
        },
        Reply::Error {
            code: ErrorCode::CheckpointMismatch,
            message: "expected 4".into(),
            expected: Some(4),
        },
    ];
    for reply in replies {
        let frame = encode(&reply).unwrap();
        assert_eq!(decode::<Reply>(&frame[4..]).unwrap(), reply);
    }
}

#[test]
fn hostile_frames_are_refused() {
    let feed = |bytes: &[u8]| {
        FrameReader::new()
            .feed(bytes)
            .map(|body| body.map(<[u8]>::to_vec))
    };
    assert!(matches!(feed(&[0, 0, 0, 0]), Err(FrameError::Empty)));
    assert!(matches!(
        feed(&[0, 1, 0, 1]),
        Err(FrameError::TooLong(65537))
    ));
    assert!(matches!(feed(&[0xFF; 4]), Err(FrameError::TooLong(_))));
    assert!(matches!(feed(b"\0\0\0\x01ab"), Err(FrameError::Trailing)));
    assert_eq!(feed(&[0, 1, 0, 0]).unwrap(), None);
    assert_eq!(feed(b"\0\0\0\x02a").unwrap(), None);
}

#[test]
fn malformed_requests_are_refused() {
    for bad in [
        "",
        "null",
        "[]",
        r#""ping""#,
        r#"{"ping":{},"ping":{}}"#,
        r#"{"ping":{}} "x""#,
        r#"{"ping":{"x":1}}"#,
        r#"{"ping":null}"#,
        r#"{"Ping":{}}"#,
        r#"{"certify":{"principal":"root"}}"#,
        r#"{"delegate":{"epoch":"01ARZ3NDEKTSV4RRFFQ69G5FAV","public_key":"AAAA","broker_id":"b"}}"#,
        r#"{"delegate":{"epoch":"01ARZ3NDEKTSV4RRFFQ69G5FAV","public_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","broker_id":"a b"}}"#,
        r#"{"checkpoint":{"log":"01ARZ3NDEKTSV4RRFFQ69G5FAV","from":-1,"hashes":""}}"#,
        r#"{"checkpoint":{"log":"01ARZ3NDEKTSV4RRFFQ69G5FAV","from":0,"hashes":"AAAA"}}"#,
        r#"{"checkpoint":{"log":"01ARZ3NDEKTSV4RRFFQ69G5FAV","from":0,"from":1,"hashes":""}}"#,
    ] {
        assert!(decode::<Request>(bad.as_bytes()).is_err(), "{bad}");
    }
    let deep = "[".repeat(60_000);
    assert!(decode::<Request>(deep.as_bytes()).is_err());
}

#[test]
fn checkpoint_hash_limit_is_exact() {
    let request = |n| Request::Checkpoint {
        log: RecordId::from_bits(1),
        from: 0,
        hashes: vec![Digest([255; 32]); n],
    };
    let frame = encode(&request(MAX_CHECKPOINT_HASHES)).unwrap();
    assert!(decode::<Request>(&frame[4..]).is_ok());
    let frame = encode(&request(MAX_CHECKPOINT_HASHES + 1)).unwrap();
    assert!(decode::<Request>(&frame[4..]).is_err());
}

#[test]
fn oversized_message_is_not_encoded() {
    let reply = |n: usize| Reply::RootPublicKey {
        public_key: "x".repeat(n),
    };
    assert!(encode(&reply(MAX_COMMAND_BYTES)).is_ok());
    assert!(matches!(
        encode(&reply(MAX_FRAME)),
        Err(FrameError::TooLong(_))
    ));
}

struct Duplex {
    incoming: Cursor<Vec<u8>>,
    outgoing: Vec<u8>,
}

impl Read for Duplex {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(3);
        self.incoming.read(&mut buffer[..len])
    }
}

impl Write for Duplex {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn exchange_sends_the_request_and_returns_the_reply() {
    let reply = Reply::RootPublicKey {
        public_key: "ssh-ed25519 AAAA".into(),
    };
    let mut stream = Duplex {
        incoming: Cursor::new(encode(&reply).unwrap()),
        outgoing: Vec::new(),
    };
    assert_eq!(exchange(&mut stream, &Request::Ping {}).unwrap(), reply);
    assert_eq!(stream.outgoing, encode(&Request::Ping {}).unwrap());
}

#[test]
fn truncated_and_malformed_replies_have_different_errors() {
    let reply = encode(&Reply::RootPublicKey {
        public_key: String::new(),
    })
    .unwrap();
    let mut short = Duplex {
        incoming: Cursor::new(reply[..reply.len() - 1].to_vec()),
        outgoing: Vec::new(),
    };
    let result = exchange(&mut short, &Request::Ping {});
    assert!(matches!(result, Err(ExchangeError::Closed)));
    let mut wrong = Duplex {
        incoming: Cursor::new(b"\0\0\0\x02{}".to_vec()),
        outgoing: Vec::new(),
    };
    let result = exchange(&mut wrong, &Request::Ping {});
    assert!(matches!(result, Err(ExchangeError::Frame(_))));
}

#[test]
fn error_codes_display_as_they_serialize() {
    for code in [
        ErrorCode::Malformed,
        ErrorCode::PolicyMismatch,
        ErrorCode::NotGranted,
        ErrorCode::BadLineage,
        ErrorCode::TtlTooLong,
        ErrorCode::NotUnsealed,
        ErrorCode::ApprovalRequired,
        ErrorCode::BadCommand,
        ErrorCode::CommandNotAllowed,
        ErrorCode::BadPublicKey,
        ErrorCode::RateLimited,
        ErrorCode::CheckpointMismatch,
        ErrorCode::JournalUnavailable,
        ErrorCode::Internal,
    ] {
        assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{code}\""));
    }
}
