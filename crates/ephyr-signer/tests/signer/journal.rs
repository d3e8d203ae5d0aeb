//! Tests of the journal: entries are on disk before the reply and survive SIGKILL, and nothing is signed without it.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use ephyr_chain::{Checkpoint, Fold};
use ephyr_names::{Digest, RecordId};
use ephyr_signer_ipc::{ErrorCode, Reply, Request};
use rustix::process::Signal;

use crate::support::{SIGNER_UID, WIDE, World, as_user, checkpoint, is_root};

#[test]
fn certificates_are_journaled_before_the_reply_is_sent() {
    let mut world = World::running();
    let mut serials: Vec<String> = Vec::new();
    for _ in 0..3 {
        let stop = AtomicBool::new(false);
        let issued: Vec<String> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut serials = Vec::new();
                        while !stop.load(Ordering::Relaxed) {
                            let intent = world.intent();
                            let Ok(stream) =
                                std::os::unix::net::UnixStream::connect(world.socket())
                            else {
                                break;
                            };
                            let mut stream = stream;
                            let request = Request::Sign { intent };
                            match ephyr_signer_ipc::exchange(&mut stream, &request) {
                                Ok(Reply::Certificate { serial, .. }) => {
                                    serials.push(serial.to_string());
                                }
                                _ => break,
                            }
                        }
                        serials
                    })
                })
                .collect();
            std::thread::sleep(std::time::Duration::from_millis(300));
            world.signal(Signal::KILL);
            stop.store(true, Ordering::Relaxed);
            callers
                .into_iter()
                .flat_map(|caller| caller.join().unwrap())
                .collect()
        });
        assert!(!issued.is_empty());
        serials.extend(issued);
        world.ended();
        world.start();
    }
    let journaled: Vec<String> = world
        .events("issued")
        .iter()
        .map(|entry| entry["serial"].as_str().unwrap().to_owned())
        .collect();
    for serial in &serials {
        assert!(
            journaled.contains(serial),
            "{serial} was issued without an entry"
        );
    }
}

#[test]
fn unfinished_line_is_moved_aside_and_a_modified_one_is_refused() {
    let mut world = World::running();
    world.granted(&world.intent());
    world.signal(Signal::KILL);
    world.ended();
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(world.journal())
        .unwrap();
    file.write_all(b"{\"time\":\"2026-").unwrap();
    drop(file);
    world.start();
    assert!(world.log().contains("unfinished"), "{}", world.log());
    assert_eq!(world.events("issued").len(), 1);
    world.signal(Signal::TERM);
    world.ended();
    let text = fs::read_to_string(world.journal()).unwrap();
    fs::write(world.journal(), text.replacen("lead", "dale", 1)).unwrap();
    let stderr = world.fails_to_start();
    assert!(stderr.contains("line 2"), "{stderr}");
}

/// Returns the signer's refusal.
#[cfg(test)]
fn refused(world: &World) -> (ErrorCode, String) {
    match world.sign(&world.intent()) {
        Reply::Error { code, message, .. } => (code, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn journal_continues_in_the_spare_file_after_it_was_taken_away() {
    type Take = fn(&World);
    let cases: [(&str, Take); 3] = [
        ("removed", |world| fs::remove_file(world.journal()).unwrap()),
        ("renamed", |world| {
            fs::rename(world.journal(), world.path("state/away")).unwrap();
        }),
        ("replaced", |world| {
            fs::rename(world.journal(), world.path("state/away")).unwrap();
            fs::write(world.journal(), "").unwrap();
        }),
    ];
    for (how, take) in cases {
        let mut world = World::running();
        world.granted(&world.intent());
        let hashes = [[1; 32], [2; 32]];
        let signed = world.ask(&checkpoint(5, 0, &hashes[..1]));
        assert!(matches!(signed, Reply::Checkpoint { count: 1, .. }));
        let before = world.entries();
        take(&world);
        let (code, message) = refused(&world);
        assert_eq!(code, ErrorCode::JournalUnavailable);
        assert!(message.contains(&format!("was {how}")), "{message}");
        assert!(world.log().contains("journal.spare"), "{}", world.log());
        world.granted(&world.intent());
        world.signal(Signal::TERM);
        assert!(world.ended().success());

        world.start();
        assert!(
            world.log().contains("had been taken away"),
            "{}",
            world.log()
        );
        let entries = world.entries();
        assert_eq!(entries[0]["event"], "continued");
        assert_eq!(entries[0]["taken_away"], how);
        assert_eq!(entries[0]["entries"], before.len());
        assert_eq!(entries[0]["previous"], before.last().unwrap()["hash"]);
        assert_eq!(
            world.events("issued").len(),
            1,
            "only the certificate after it"
        );
        // The heads of the audit logs were carried over.
        let signed = world.ask(&checkpoint(5, 1, &hashes[1..]));
        assert!(
            matches!(signed, Reply::Checkpoint { count: 2, .. }),
            "{signed:?}"
        );
        assert_eq!(
            world.path("state/journal.replaced-0").exists(),
            how == "replaced"
        );
    }
}

#[test]
fn without_journal_and_spare_requests_are_refused_until_a_restart() {
    let mut world = World::running();
    world.granted(&world.intent());
    for name in ["journal", "journal.spare"] {
        fs::remove_file(world.path("state").join(name)).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(refused(&world).0, ErrorCode::JournalUnavailable);
    }
    assert!(
        world.log().contains("until the signer is restarted"),
        "{}",
        world.log()
    );
    assert!(matches!(world.ask(&Request::Ping {}), Reply::Pong { .. }));
    world.signal(Signal::KILL);
    world.ended();
    world.start();
    world.granted(&world.intent());
}

#[test]
fn missing_journal_is_reported_at_startup() {
    let mut world = World::running();
    world.signal(Signal::TERM);
    world.ended();
    assert!(world.events("missing").is_empty());
    fs::remove_file(world.journal()).unwrap();
    world.start();
    assert_eq!(world.entries()[0]["event"], "missing");
    assert!(
        world.log().contains("was there before and is missing"),
        "{}",
        world.log()
    );
}

#[test]
fn heads_are_kept_by_the_signer_across_restarts() {
    let mut world = World::running();
    let hashes: Vec<[u8; 32]> = (0..5u8).map(|n| [n; 32]).collect();
    assert!(matches!(
        world.ask(&checkpoint(5, 0, &hashes[..3])),
        Reply::Checkpoint { count: 3, .. }
    ));
    world.signal(Signal::KILL);
    world.ended();
    world.start();
    let again = world.ask(&checkpoint(5, 0, &hashes[..3]));
    assert!(
        matches!(
            again,
            Reply::Error {
                expected: Some(3),
                ..
            }
        ),
        "{again:?}"
    );
    let Reply::Checkpoint {
        log,
        count,
        head,
        time,
        signature,
    } = world.ask(&checkpoint(5, 3, &hashes[3..]))
    else {
        panic!("refused");
    };
    let mut fold = Fold::new(RecordId::from_bits(5));
    for hash in hashes {
        fold.push(Digest(hash));
    }
    assert_eq!((count, head), (5, fold.head()));
    let signed = Checkpoint {
        log,
        count,
        head,
        time,
        signature,
    };
    signed.verify(&world.ca).unwrap();
    let moved = Checkpoint { count: 6, ..signed };
    assert!(moved.verify(&world.ca).is_err());
}

/// Returns a world with a small file system for the journal, which the test can fill and free.
fn full_disk_world() -> Option<World> {
    if !is_root() {
        ephyr_testkit::skip("needs a small file system, which only root can mount");
        return None;
    }
    let mut world = World::new(WIDE);
    let state = world.path("state");
    let script = format!(
        "mount -t tmpfs -o size=256k,mode=755,uid={SIGNER_UID} none {} && exec \"$@\"",
        state.display()
    );
    let wrapper = ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned);
    let supported = Command::new("unshare").args(["--mount", "true"]).status();
    if !supported.is_ok_and(|status| status.success()) {
        ephyr_testkit::skip("needs a mount namespace, which cannot be made here");
        return None;
    }
    world.wrapper = wrapper.into_iter().chain(as_user(SIGNER_UID)).collect();
    Some(world)
}

#[test]
fn full_disk_refuses_requests_until_space_is_free() {
    let Some(mut world) = full_disk_world() else {
        return;
    };
    world.start();
    // Only the signer's mount namespace has the file system: reach it through /proc.
    let inside = format!(
        "/proc/{}/root{}",
        world.pid().as_raw_nonzero(),
        world.path("state").display()
    );
    let socket = format!("{inside}/signer.sock");
    let ask = |request: &Request| {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        ephyr_signer_ipc::exchange(&mut stream, request).unwrap()
    };
    let sign = || {
        ask(&Request::Sign {
            intent: world.intent(),
        })
    };
    assert!(matches!(sign(), Reply::Certificate { .. }));
    assert!(matches!(
        ask(&checkpoint(1, 0, &[[1; 32]])),
        Reply::Checkpoint { .. }
    ));
    let filler = format!("{inside}/filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    // The journal's last block has room for a few more entries.
    let refused = (0..50)
        .map(|_| sign())
        .find(|reply| matches!(reply, Reply::Error { .. }))
        .unwrap();
    let Reply::Error { code, message, .. } = refused else {
        panic!("signed without a record");
    };
    assert_eq!(code, ErrorCode::JournalUnavailable);
    assert!(
        message.contains("nothing is signed unrecorded"),
        "{message}"
    );
    let head = ask(&checkpoint(1, 1, &[[2; 32]]));
    assert!(
        matches!(
            head,
            Reply::Error {
                code: ErrorCode::JournalUnavailable,
                ..
            }
        ),
        "{head:?}"
    );
    assert!(matches!(ask(&Request::Ping {}), Reply::Pong { .. }));
    fs::remove_file(&filler).unwrap();
    let reply = sign();
    assert!(matches!(reply, Reply::Certificate { .. }), "{reply:?}");
    let head = ask(&checkpoint(1, 1, &[[2; 32]]));
    assert!(
        matches!(head, Reply::Checkpoint { count: 2, .. }),
        "the failed checkpoint must not move the head: {head:?}"
    );
    let copy = fs::read(format!("{inside}/journal")).unwrap();
    fs::write(world.journal(), copy).unwrap();
    assert!(!world.entries().is_empty());
}
