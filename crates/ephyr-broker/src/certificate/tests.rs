//! Slots and certificates after failures at each step of an issue.

use std::sync::Arc;

use ephyr_names::Ttl;
use ephyr_signer_ipc::{ErrorCode, Reply};
use http::{Method, StatusCode};
use serde_json::json;

use crate::clock;
use crate::http::{Entrypoint, Peer, Router};
use crate::testing::{Bench, HOME_UID, admit, ask, finish, head, policy};

const HOME: Peer = Peer::Uid(HOME_UID);
const LIFETIME: Ttl = Ttl::from_secs(600);
/// A valid Ed25519 public key.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDvXgYTLmHTbmVUfYW58bPtT6NpPYvrf0S6VbT8xRmFn";
/// A P-256 public key, which is refused.
const P256_KEY: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAjHeBil\
                         +ipiEexVX7315yYWvKyAQD6lilNgleGY6cHeSS2H22Kmsij1PdqTEXEVdyyZysMzUPC+GLX0z9KIqGM=";

fn get(path: &str) -> (http::request::Parts, String) {
    (head(Method::GET, path, &[]), String::new())
}

fn request(key: &str) -> (http::request::Parts, String) {
    let body = json!({"target": "web", "role": "read", "public_key": key});
    (head(Method::POST, "/v1/request", &[]), body.to_string())
}

fn certified(serial: &str) -> Reply {
    Reply::Certificate {
        certificate: "ssh-ed25519-cert-v01@openssh.com AAAA".to_owned(),
        serial: serde_json::from_value(json!(serial)).unwrap(),
        expires: clock::now().after(LIFETIME),
    }
}

fn refuses(code: ErrorCode) -> impl Fn(ephyr_signer_ipc::Request) -> Reply + Send {
    move |_| Reply::Error {
        code,
        message: "no".to_owned(),
        expected: None,
    }
}

/// Returns the number of occupied slots, and the serials listed to the agent.
async fn slots_and_serials(bench: &Bench, router: &Arc<Router>) -> (usize, Vec<String>) {
    let listed = ask(router, HOME, get("/v1/certs")).await.body;
    let certs = listed["certs"].as_array().unwrap().iter();
    let serials = certs.map(|cert| cert["serial"].as_str().unwrap().to_owned());
    (bench.broker.gate().active(clock::now()), serials.collect())
}

#[tokio::test]
async fn task_revoked_during_signing_gets_no_certificate() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Entrypoint::Unix);
    let (early, early_token) = bench.task("home", LIFETIME, |_| {});
    let (late, late_token) = bench.task("home", LIFETIME, |_| {});
    let kept_token = bench.task("home", LIFETIME, |_| {}).1;
    let state = Arc::clone(&bench.broker);
    bench.signer(move |signer_request| {
        let ephyr_signer_ipc::Request::Sign { intent } = signer_request else {
            panic!("not a signing request")
        };
        if intent.task == Some(late) {
            let task = state.state().task(late).unwrap();
            state.state().revoke(&task, clock::now()).unwrap();
        }
        certified("00000000000000aa")
    });
    for (token, status) in [
        (early_token, StatusCode::FORBIDDEN),
        (late_token, StatusCode::FORBIDDEN),
        (kept_token, StatusCode::OK),
    ] {
        let bearer = format!("Bearer {token}");
        let head = head(
            Method::POST,
            "/v1/request",
            &[("authorization", bearer.as_str())],
        );
        let Ok(admitted) = admit(&unix, HOME, &head).await else {
            panic!("the token was refused")
        };
        if bench.broker.state().revoked(&[early]).is_none() {
            let task = bench.broker.state().task(early).unwrap();
            bench.broker.state().revoke(&task, clock::now()).unwrap();
        }
        let answer = finish(&unix, admitted, head, &request(KEY).1).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(
            answer.body["certificate"].is_string(),
            status == StatusCode::OK
        );
    }
    let count = |event: &str| bench.events().iter().filter(|e| *e == event).count();
    assert_eq!(
        count("cert_attempt"),
        2,
        "the early one was refused before its attempt"
    );
    assert_eq!(count("cert_outcome"), 2);
    assert_eq!(
        bench.broker.gate().active(clock::now()),
        2,
        "a signed certificate counts until it expires"
    );
}

const SMALL_ORDER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[tokio::test]
async fn certificates_are_issued_for_ed25519_keys_only() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Entrypoint::Unix);
    bench.signer(refuses(ErrorCode::RateLimited));
    for (key, code) in [
        (P256_KEY, "bad_public_key"),
        ("ssh-ed25519 AAAA", "bad_public_key"),
        (SMALL_ORDER_KEY, "bad_public_key"),
        (KEY, "rate_limited"),
    ] {
        let answer = ask(&unix, HOME, request(key)).await;
        assert_eq!(answer.body["code"], code, "{}", answer.body);
    }
    assert_eq!(
        bench.broker.gate().active(clock::now()),
        0,
        "no slot is occupied"
    );
}

#[tokio::test]
async fn restart_keeps_the_slot_and_renewal_shares_it() {
    let bench = Bench::new(&policy());
    bench.signer(|_| certified("00000000000000aa"));
    let unix = bench.router(Entrypoint::Unix);
    for _ in 0..2 {
        let answer = ask(&unix, HOME, request(KEY)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    drop(unix);
    let bench = bench.restart(&policy());
    assert_eq!(bench.broker.gate().active(clock::now()), 1);
    let listed = ask(&bench.router(Entrypoint::Unix), HOME, get("/v1/certs")).await;
    assert_eq!(listed.body["certs"][0]["principal"], "web/read");
}

#[tokio::test]
async fn certificate_that_cannot_be_stored_is_withheld_but_counts() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Entrypoint::Unix);
    let made = std::sync::atomic::AtomicU64::new(0);
    bench.signer(move |_| {
        let n = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        certified(&format!("{n:016x}"))
    });
    let first = ask(&unix, HOME, request(KEY)).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let (journal, away) = (bench.journal(), bench.journal().with_extension("away"));
    std::fs::rename(&journal, &away).unwrap();
    for serial in ["0000000000000001", "0000000000000002"] {
        let answer = ask(&unix, HOME, request(KEY)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.body["code"], "state_unavailable");
        assert!(answer.body["certificate"].is_null(), "{}", answer.body);
        let message = answer.body["error"].as_str().unwrap();
        assert!(message.contains("counts until"), "{message}");
        let record = bench.last("cert_outcome");
        assert_eq!(record["serial"], serial, "{record}");
        // All certificates of an agent for the same target and role share one slot.
        let listed = vec![serial.to_owned()];
        assert_eq!(slots_and_serials(&bench, &unix).await, (1, listed));
    }
    drop(unix);
    std::fs::rename(&away, &journal).unwrap();
    let bench = bench.restart(&policy());
    let unix = bench.router(Entrypoint::Unix);
    let listed = vec!["0000000000000000".to_owned()];
    assert_eq!(
        slots_and_serials(&bench, &unix).await,
        (1, listed),
        "the certificate that the agent received"
    );
}

/// How the signer fails on the connection of a request.
enum SignerFault {
    Hangs,
    Closes,
    SendsGarbage,
    Absent,
}

#[tokio::test]
async fn slot_is_freed_only_if_no_certificate_can_exist() {
    let too_long = format!("{KEY} {}", "x".repeat(70_000));
    for (fault, key, code, slots) in [
        (SignerFault::Hangs, KEY, "signer_unavailable", 1),
        (SignerFault::Closes, KEY, "signer_unavailable", 1),
        (SignerFault::SendsGarbage, KEY, "signer_unavailable", 1),
        (SignerFault::Absent, KEY, "signer_unavailable", 0),
        (SignerFault::Hangs, &too_long, "signer_unavailable", 0),
    ] {
        let bench = Bench::new(&policy());
        let unix = bench.router(Entrypoint::Unix);
        if !matches!(fault, SignerFault::Absent) {
            let signer = bench.silent_signer();
            tokio::spawn(async move {
                let mut held = Vec::new();
                while let Ok((stream, _)) = signer.accept().await {
                    match fault {
                        SignerFault::SendsGarbage => drop(stream.try_write(b"\0\0\0\x02{}")),
                        SignerFault::Closes => continue,
                        SignerFault::Hangs | SignerFault::Absent => {}
                    }
                    held.push(stream);
                }
            });
        }
        let answer = ask(&unix, HOME, request(key)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.body["code"], code, "{}", answer.body);
        let message = answer.body["error"].as_str().unwrap();
        assert_eq!(message.contains("counts until"), slots == 1, "{message}");
        assert_eq!(
            slots_and_serials(&bench, &unix).await,
            (slots, Vec::new()),
            "{message}"
        );
        // The default TTL of the policy is five minutes.
        let later = clock::now().after(Ttl::from_secs(301));
        assert_eq!(bench.broker.gate().active(later), 0);
    }
}
