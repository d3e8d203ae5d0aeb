//! What becomes of the slot and of the agent's certificate, whatever goes wrong on the way.

use std::sync::Arc;

use ephyr_names::Ttl;
use ephyr_signer_ipc::{ErrorCode, Reply};
use http::{Method, StatusCode};
use serde_json::json;

use crate::clock;
use crate::http::{Peer, Router, Way};
use crate::testing::{Bench, HOME_UID, admit, ask, finish, head, policy};

const HOME: Peer = Peer::Uid(HOME_UID);
const LIFE: Ttl = Ttl::from_secs(600);
/// A public key that somebody may have.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDvXgYTLmHTbmVUfYW58bPtT6NpPYvrf0S6VbT8xRmFn";
/// One of a kind that no certificate is made for: P-256.
const OTHER_KEY: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBAjHeBil\
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
        expires: clock::now().after(LIFE),
    }
}

fn refuses(code: ErrorCode) -> impl Fn(ephyr_signer_ipc::Request) -> Reply + Send {
    move |_| Reply::Error {
        code,
        message: "no".to_owned(),
        expected: None,
    }
}

/// How many slots are taken, and the serials that the agent is told of.
async fn out(bench: &Bench, router: &Arc<Router>) -> (usize, Vec<String>) {
    let listed = ask(router, HOME, get("/v1/certs")).await.body;
    let certs = listed["certs"].as_array().unwrap().iter();
    let serials = certs.map(|cert| cert["serial"].as_str().unwrap().to_owned());
    (bench.broker.gate().active(clock::now()), serials.collect())
}

#[tokio::test]
async fn a_task_revoked_while_its_certificate_is_made_gets_none() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Way::Unix);
    let (early, early_token) = bench.task("home", LIFE, |_| {});
    let (late, late_token) = bench.task("home", LIFE, |_| {});
    let kept_token = bench.task("home", LIFE, |_| {}).1;
    let state = Arc::clone(&bench.broker);
    bench.signer(move |asked| {
        let ephyr_signer_ipc::Request::Sign { intent } = asked else {
            panic!("another question")
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
            panic!("a good token")
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
    assert_eq!(count("cert_attempt"), 2, "the first was refused before");
    assert_eq!(count("cert_outcome"), 2);
    assert_eq!(
        bench.broker.gate().active(clock::now()),
        2,
        "a certificate that was made counts until it ends"
    );
}

const OF_SMALL_ORDER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[tokio::test]
async fn certificates_are_made_for_ed25519_keys_alone() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Way::Unix);
    bench.signer(refuses(ErrorCode::RateLimited));
    for (key, code) in [
        (OTHER_KEY, "bad_public_key"),
        ("ssh-ed25519 AAAA", "bad_public_key"),
        (OF_SMALL_ORDER, "bad_public_key"),
        (KEY, "rate_limited"),
    ] {
        let answer = ask(&unix, HOME, request(key)).await;
        assert_eq!(answer.body["code"], code, "{}", answer.body);
    }
    assert_eq!(
        bench.broker.gate().active(clock::now()),
        0,
        "no slot is left"
    );
}

#[tokio::test]
async fn a_certificate_that_is_out_keeps_its_slot_across_a_restart_and_a_renewed_one_only_one() {
    let bench = Bench::new(&policy());
    bench.signer(|_| certified("00000000000000aa"));
    let unix = bench.router(Way::Unix);
    for _ in 0..2 {
        let answer = ask(&unix, HOME, request(KEY)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    drop(unix);
    let bench = bench.restart(&policy());
    assert_eq!(bench.broker.gate().active(clock::now()), 1);
    let listed = ask(&bench.router(Way::Unix), HOME, get("/v1/certs")).await;
    assert_eq!(listed.body["certs"][0]["principal"], "web/read");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_remembered_is_not_given_out_and_counts_since_it_exists() {
    let bench = Bench::new(&policy());
    let unix = bench.router(Way::Unix);
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
        let said = answer.body["error"].as_str().unwrap();
        assert!(said.contains("counts until"), "{said}");
        let record = bench.last("cert_outcome");
        assert_eq!(record["serial"], serial, "{record}");
        // One place for all of one agent's certificates for the same target and role.
        let listed = vec![serial.to_owned()];
        assert_eq!(out(&bench, &unix).await, (1, listed));
    }
    drop(unix);
    std::fs::rename(&away, &journal).unwrap();
    let bench = bench.restart(&policy());
    let unix = bench.router(Way::Unix);
    let listed = vec!["0000000000000000".to_owned()];
    assert_eq!(out(&bench, &unix).await, (1, listed), "what the agent has");
}

/// What a signer does with the connection on which it was asked.
enum Breaks {
    Hangs,
    Closes,
    Babbles,
    IsNotThere,
}

#[tokio::test]
async fn a_slot_is_given_back_where_nothing_was_issued_and_stays_where_something_may_have_been() {
    let too_long = format!("{KEY} {}", "x".repeat(70_000));
    for (breaks, key, code, slots) in [
        (Breaks::Hangs, KEY, "signer_unavailable", 1),
        (Breaks::Closes, KEY, "signer_unavailable", 1),
        (Breaks::Babbles, KEY, "signer_unavailable", 1),
        (Breaks::IsNotThere, KEY, "signer_unavailable", 0),
        (Breaks::Hangs, &too_long, "signer_unavailable", 0),
    ] {
        let bench = Bench::new(&policy());
        let unix = bench.router(Way::Unix);
        if !matches!(breaks, Breaks::IsNotThere) {
            let signer = bench.silent_signer();
            tokio::spawn(async move {
                let mut held = Vec::new();
                while let Ok((stream, _)) = signer.accept().await {
                    match breaks {
                        Breaks::Babbles => drop(stream.try_write(b"\0\0\0\x02{}")),
                        Breaks::Closes => continue,
                        Breaks::Hangs | Breaks::IsNotThere => {}
                    }
                    held.push(stream);
                }
            });
        }
        let answer = ask(&unix, HOME, request(key)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.body["code"], code, "{}", answer.body);
        let said = answer.body["error"].as_str().unwrap();
        assert_eq!(said.contains("counts until"), slots == 1, "{said}");
        assert_eq!(out(&bench, &unix).await, (slots, Vec::new()), "{said}");
        // Five minutes, as the policy has it where nothing is said.
        let later = clock::now().after(Ttl::from_secs(301));
        assert_eq!(bench.broker.gate().active(later), 0);
    }
}
