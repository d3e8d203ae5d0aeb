//! Tests of delegation checks, countersignatures and the end of background tasks.

use std::sync::atomic::{AtomicBool, Ordering};

use ephyr_audit::Fold;
use ephyr_core::audit::CheckpointError;
use ephyr_names::{EpochId, Ttl};
use ephyr_signer_ipc::{ErrorCode, PublicKeyBytes, Reply, Request};
use ephyr_token::{DelegationCertificate, DelegationPayload};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

use super::*;
use crate::testing::{Bench, policy};

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// A fault in the signer's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    OtherEpoch,
    OtherKey,
    SignedByAnother,
    Expired,
    UnsignedTimes,
    AnotherAnswer,
}

fn answer(asked: Request, fault: Fault) -> Reply {
    let Request::Delegate {
        epoch,
        public_key,
        broker_id,
        ..
    } = asked
    else {
        let public_key = key(7).public_key().to_openssh().unwrap();
        return Reply::RootPublicKey { public_key };
    };
    let now = clock::now();
    let ago = |seconds| Timestamp::from_unix_seconds(now.unix_seconds() - seconds);
    let begun = if fault == Fault::Expired {
        ago(7200)
    } else {
        now
    };
    let mut payload = DelegationPayload {
        epoch,
        broker_id: broker_id.as_str().to_owned(),
        public_key: public_key.0,
        issued_at: begun,
        mint_until: begun.after(Ttl::from_secs(3600)),
        valid_until: begun.after(Ttl::from_secs(7200)),
    };
    match fault {
        Fault::OtherEpoch => payload.epoch = EpochId::from_bits(7),
        Fault::OtherKey => payload.public_key = key(9).public_key().key_data().ed25519().unwrap().0,
        Fault::AnotherAnswer => {
            let public_key = String::new();
            return Reply::RootPublicKey { public_key };
        }
        _ => {}
    }
    let ca = key(if fault == Fault::SignedByAnother {
        8
    } else {
        7
    });
    let signed = DelegationCertificate::sign(payload, &ca).unwrap();
    let mut payload = signed.payload;
    if fault == Fault::UnsignedTimes {
        payload.mint_until = payload.mint_until.after(Ttl::from_secs(60));
        payload.valid_until = payload.valid_until.after(Ttl::from_secs(60));
    }
    Reply::Delegation {
        epoch: payload.epoch,
        broker_id,
        public_key: PublicKeyBytes(payload.public_key),
        issued_at: payload.issued_at,
        mint_until: payload.mint_until,
        valid_until: payload.valid_until,
        signature: signed.signature,
    }
}

#[tokio::test]
async fn invalid_delegation_starts_no_epoch() {
    for fault in [
        Fault::OtherEpoch,
        Fault::OtherKey,
        Fault::SignedByAnother,
        Fault::Expired,
        Fault::UnsignedTimes,
        Fault::AnotherAnswer,
        Fault::None,
    ] {
        let bench = Bench::without_epoch(&policy());
        bench.signer(move |asked| answer(asked, fault));
        let started = new_epoch(&bench.broker, clock::now()).await;
        assert_eq!(
            started.is_ok(),
            fault == Fault::None,
            "{fault:?}: {started:?}"
        );
        let minting = bench.broker.state().newest_epoch().is_some();
        assert_eq!(minting, fault == Fault::None, "{fault:?}");
        let recorded = bench.events().iter().any(|event| event == "epoch_started");
        assert_eq!(recorded, fault == Fault::None, "{fault:?}");
    }
}

#[tokio::test]
async fn records_of_earlier_processes_are_countersigned_first() {
    let bench = Bench::new(&policy());
    let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
    bench.signer(move |request| {
        let refused = Reply::Error {
            code: ErrorCode::JournalUnavailable,
            message: "no".to_owned(),
            expected: None,
        };
        told.send(request).unwrap();
        refused
    });
    let record = bench.broker.own_record(Event::Startup);
    bench.broker.audit().durable(&record).await.unwrap();
    let (_stop, stopping) = watch::channel(false);
    let _background = BackgroundTasks::start(&bench.broker, &stopping);
    let first = asked.recv().await.unwrap();
    let Request::Checkpoint { from, hashes, .. } = first else {
        panic!("{first:?} before the log is countersigned");
    };
    assert_eq!((from, hashes.len()), (0, 2));
}

#[tokio::test]
async fn stopped_background_task_ends_the_broker() {
    let mut background = BackgroundTasks(JoinSet::new());
    background.0.spawn(std::future::pending());
    let soon = Duration::from_millis(10);
    assert!(
        tokio::time::timeout(soon, background.ended())
            .await
            .is_err()
    );
    background.0.spawn(async { panic!("no thread to be had") });
    let why = background.ended().await.to_string();
    assert!(why.contains("panicked"), "{why}");
}

/// Returns a signer that once reports having seen `seen` records, and countersigns afterwards.
fn forgetful_signer(seen: u64) -> impl Fn(Request) -> Reply {
    let said = AtomicBool::new(false);
    move |asked| {
        let Request::Checkpoint { log, from, hashes } = asked else {
            panic!("{asked:?}");
        };
        if !said.swap(true, Ordering::Relaxed) {
            return Reply::Error {
                code: ErrorCode::CheckpointMismatch,
                message: "go on from there".to_owned(),
                expected: Some(seen),
            };
        }
        assert_eq!(from, seen);
        let mut fold = Fold::new(log);
        for hash in hashes {
            fold.push(hash);
        }
        Reply::Checkpoint {
            log,
            count: fold.count(),
            head: fold.head(),
            time: clock::now(),
            signature: "as the log's reader checks it".to_owned(),
        }
    }
}

#[tokio::test]
async fn log_shorter_than_the_signer_has_seen_is_truncated() {
    for (seen, cut) in [(0, false), (1000, true)] {
        let bench = Bench::new(&policy());
        bench.signer(forgetful_signer(seen));
        let (audit, broker) = (bench.broker.audit(), &bench.broker);
        let record = broker.own_record(Event::Startup);
        audit.durable(&record).await.unwrap();
        let told = audit
            .checkpoint(broker.signer(), broker.policy_hash(), clock::now())
            .await;
        assert_eq!(told.is_err(), cut, "{told:?}");
        assert_eq!(audit.writer().position().signed > 0, !cut);
        if let Err(error) = told {
            let cut = matches!(error, CheckpointError::Truncated { signed: 1000, .. });
            assert!(cut, "{error}");
        }
    }
}
