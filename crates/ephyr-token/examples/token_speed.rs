//! Benchmarks verification and reduction of tokens against the bare HMAC chain over the same caveats, and
//! the check of a proof: `cargo run --release -p ephyr-token --example token_speed`.

use std::error::Error;
use std::hint::black_box;
use std::str::FromStr;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use ephyr_names::{Digest, EpochId, NameError, TaskId, Timestamp};
use ephyr_token::{
    ChildSpec, Envelope, EpochSecret, Grants, HolderKey, Narrowing, Nonce, Proof, ProofRequest,
    RootKey, RootSpec, Scope, Token, UnverifiedToken, explain, mint_child, mint_root, proof,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

type Run<T> = Result<T, Box<dyn Error>>;

const EXPIRES: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn main() -> Run<()> {
    let key = EpochSecret::from_bytes([7; 32]).root_key(TaskId::from_bits(1));
    let mut token = root(&key, listed()?)?;
    report("root, lists", &key, &token)?;
    for depth in 1..=5 {
        token = child(&key, token, depth)?;
    }
    report("five deep", &key, &token)?;
    report(
        "root, policy decides",
        &key,
        &root(&key, Envelope::any(EXPIRES, true, 5))?,
    )?;
    report_proof(&token)
}

fn listed() -> Run<Envelope> {
    Ok(Envelope {
        ssh: pairs(&[
            ("web", "read"),
            ("web", "operator"),
            ("db", "read"),
            ("cache", "read"),
        ])?,
        http: pairs(&[("github", "GET"), ("github", "POST"), ("wiki", "GET")])?,
        mcp: pairs(&[("devtools", "list_repos"), ("devtools", "read_file")])?,
        ..Envelope::any(EXPIRES, true, 5)
    })
}

fn pairs<K, V>(pairs: &[(&str, &str)]) -> Run<Grants<K, V>>
where
    K: Ord + FromStr<Err = NameError>,
    V: Ord + FromStr<Err = NameError>,
{
    let names = pairs.iter().map(|(k, v)| Ok((k.parse()?, v.parse()?)));
    Ok(names.collect::<Result<Grants<K, V>, NameError>>()?)
}

fn root(key: &RootKey, envelope: Envelope) -> Run<Token> {
    let spec = RootSpec {
        task: TaskId::from_bits(1),
        agent: "builder".parse()?,
        holder: None,
        initiated_by: None,
        envelope,
    };
    Ok(mint_root(key, EpochId::from_bits(9), &spec)?)
}

fn child(key: &RootKey, parent: Token, depth: u8) -> Run<Token> {
    let parent = UnverifiedToken::from(parent).verify(key)?;
    let holder = SigningKey::from_bytes(&[depth; 32])
        .verifying_key()
        .to_bytes();
    let spec = ChildSpec {
        task: TaskId::from_bits(u128::from(depth) + 100),
        agent: "deployer".parse()?,
        holder: Some(HolderKey::from_bytes(holder)?),
        narrowing: Narrowing {
            ssh: Some(pairs(&[("web", "read"), ("db", "read")])?),
            targets: Some(Scope::from_iter(["web".parse()?, "db".parse()?])),
            services: Some(Scope::none()),
            ..Narrowing::default()
        },
        expires: EXPIRES,
        can_delegate: true,
        delegation_depth: None,
    };
    Ok(mint_child(key, &parent, &spec)?)
}

#[expect(clippy::print_stdout, reason = "the program prints its measurements")]
fn report(name: &str, key: &RootKey, token: &Token) -> Run<()> {
    let text = token.as_text();
    let caveats: Vec<String> = explain(&text)?.broker_caveats;
    let identifier = format!("{}.{}.{}", token.epoch(), token.root(), caveats.len());
    let chain = || {
        let first = mac(key.dangerous_bytes(), identifier.as_bytes());
        caveats
            .iter()
            .fold(first, |sum, caveat| mac(&sum, caveat.as_bytes()))
    };
    let parsed = UnverifiedToken::parse(&text)?;
    let verify = || parsed.clone().verify(key).is_ok();
    let whole = || UnverifiedToken::parse(&text).is_ok_and(|token| token.verify(key).is_ok());
    if !verify() || !whole() {
        return Err("a minted token does not verify".into());
    }
    let [chain, verify, whole] = best_of(&chain, &verify, &whole);
    println!(
        "{name}: {} caveats, {} bytes; chain {chain} ns; \
         verify + reduce {verify} ns (x{:.2}); from text {whole} ns (x{:.2})",
        caveats.len(),
        token.len(),
        f64::from(verify) / f64::from(chain),
        f64::from(whole) / f64::from(chain),
    );
    Ok(())
}

/// Compares checking a proof with one Ed25519 verification over as many bytes.
#[expect(clippy::print_stdout, reason = "the program prints its measurements")]
fn report_proof(token: &Token) -> Run<()> {
    let key = SigningKey::from_bytes(&[1; 32]);
    let holder = HolderKey::from_bytes(key.verifying_key().to_bytes())?;
    let (body, token) = (Digest([2; 32]), token.digest());
    let request = ProofRequest {
        method: "POST",
        path: "/mcp",
        body,
        token,
    };
    let header = Proof::sign(&key, &request, Nonce([3; 16]), EXPIRES).to_string();
    let message = [5; 136];
    let signature = key.sign(&message);
    let verify = || {
        VerifyingKey::from_bytes(holder.as_bytes())
            .is_ok_and(|key| key.verify_strict(&message, &signature).is_ok())
    };
    let proof = Proof::parse(&header)?;
    let check = || proof.check(&holder, &request, EXPIRES, proof::SKEW).is_ok();
    let whole = || {
        Proof::parse(&header)
            .is_ok_and(|proof| proof.check(&holder, &request, EXPIRES, proof::SKEW).is_ok())
    };
    if !verify() || !check() || !whole() {
        return Err("a proof does not verify".into());
    }
    let [verify, check, whole] = best_of(&verify, &check, &whole);
    println!(
        "proof: Ed25519 {verify} ns; check {check} ns (x{:.2}); from text {whole} ns (x{:.2})",
        f64::from(check) / f64::from(verify),
        f64::from(whole) / f64::from(verify),
    );
    Ok(())
}

/// The reference: HMAC-SHA256 of the hmac crate.
fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Returns the fastest of several interleaved rounds of each, in nanoseconds per call.
fn best_of<A, B, C>(a: &impl Fn() -> A, b: &impl Fn() -> B, c: &impl Fn() -> C) -> [u32; 3] {
    let mut best = [u32::MAX; 3];
    for _ in 0..20 {
        for (best, round) in best.iter_mut().zip([round(a), round(b), round(c)]) {
            *best = round.min(*best);
        }
    }
    best
}

fn round<T>(work: &impl Fn() -> T) -> u32 {
    let (start, mut calls) = (Instant::now(), 0u32);
    while start.elapsed() < Duration::from_millis(20) {
        for _ in 0..100 {
            black_box(work());
        }
        calls += 100;
    }
    u32::try_from(start.elapsed().as_nanos() / u128::from(calls)).unwrap_or(u32::MAX)
}
