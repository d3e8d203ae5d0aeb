//! Tokens, caveats and proofs.

use ed25519_dalek::SigningKey;
use ephyr_names::{Digest, Timestamp};
use ephyr_token::{
    HolderCaveat, HolderKey, MAX_TOKEN_BYTES, Nonce, Proof, ProofRequest, RootKey, Token,
    TokenError, UnverifiedToken, VerifiedToken, explain, proof,
};

use crate::{Broken, ensure, must};

// What writes tokens byte by byte in the tests of the crate itself; it shares no code with it.
#[path = "../../ephyr-token/tests/support/forge.rs"]
#[allow(
    dead_code,
    clippy::expect_used,
    reason = "a part of it is used, with tokens that are whole"
)]
mod forge;

const KEY: [u8; 32] = [7; 32];

/// A root that limits nothing.
const OPEN: [&str; 13] = [
    "task = 01KAT00000000000000000R00T",
    "agent = builder",
    "ssh IN [*]",
    "http IN [*]",
    "mcp IN [*]",
    "target IN [*]",
    "role IN [*]",
    "service IN [*]",
    "method IN [*]",
    "remote IN [*]",
    "expires_before = 2027-01-15T08:00:00Z",
    "can_delegate = true",
    "delegation_depth <= 5",
];

fn verify(text: &str) -> Result<VerifiedToken, TokenError> {
    UnverifiedToken::parse(text)?.verify(&RootKey::from_bytes(KEY))
}

/// A text that is read as a token is that token's only text; explaining it never claims that it is
/// verified; and nobody writes a token that carries the signature of a key that nobody has.
///
/// # Errors
/// How it is broken.
pub fn token_decode(input: &[u8]) -> Result<(), Broken> {
    let Ok(text) = std::str::from_utf8(input) else {
        return Ok(());
    };
    let Ok(token) = Token::from_text(text) else {
        let refused = UnverifiedToken::parse(text).is_err() && explain(text).is_err();
        return ensure(refused, || "refused by one way in alone".to_owned());
    };
    ensure(token.as_text() == text, || "another text".to_owned())?;
    ensure(token.len() <= MAX_TOKEN_BYTES, || "too long".to_owned())?;
    let explained = must(explain(text), "what is read can be explained")?;
    ensure(!explained.verified, || {
        "it claims to be verified".to_owned()
    })?;
    ensure(
        explained.broker_caveats.len() == token.broker_caveats(),
        || "another border of the sections".to_owned(),
    )?;
    let nobodys = RootKey::from_bytes([0xA5; 32]);
    let verified = UnverifiedToken::from(token).verify(&nobodys);
    ensure(verified.is_err(), || "forged".to_owned())
}

/// A caveat that can be appended is written as it was read, verifies and narrows; one that cannot be
/// appended makes the token refused.
///
/// # Errors
/// How it is broken.
pub fn caveat_parse(input: &[u8]) -> Result<(), Broken> {
    if input.len() > 6000 {
        return Ok(());
    }
    let open = forge::Forge::new(KEY, OPEN.len(), &OPEN).text();
    let before = must(verify(&open), "the open token is good")?;
    let after = verify(&forge::append(&open, input));
    let caveat = std::str::from_utf8(input)
        .ok()
        .and_then(|text| text.parse::<HolderCaveat>().ok());
    ensure(caveat.is_some() == after.is_ok(), || {
        "the parser and the verifier disagree".to_owned()
    })?;
    if let (Some(caveat), Ok(after)) = (caveat, after) {
        ensure(caveat.to_string().as_bytes() == input, || {
            format!("it is written back as {caveat}")
        })?;
        keeps(&before, &after, &caveat.to_string())?;
    }
    Ok(())
}

/// Whatever the broker's section says and whatever is appended: authority never grows, and task, agent
/// and holder never change. The input is lines of caveats; an empty line ends the broker's section.
///
/// # Errors
/// How it is broken.
pub fn reduce_monotonic(input: &[u8]) -> Result<(), Broken> {
    let Ok(text) = std::str::from_utf8(input) else {
        return Ok(());
    };
    if text.len() > 4000 {
        return Ok(());
    }
    let (broker, holder) = text.split_once("\n\n").unwrap_or((text, ""));
    let broker: Vec<&str> = broker.lines().collect();
    let mut token = forge::Forge::new(KEY, broker.len(), &broker).text();
    let Ok(mut before) = verify(&token) else {
        return Ok(());
    };
    for caveat in holder.lines() {
        token = forge::append(&token, caveat.as_bytes());
        let Ok(after) = verify(&token) else {
            return Ok(());
        };
        keeps(&before, &after, caveat)?;
        before = after;
    }
    Ok(())
}

/// Whether `after` says of itself what `before` said, and allows no more.
fn keeps(before: &VerifiedToken, after: &VerifiedToken, caveat: &str) -> Result<(), Broken> {
    ensure(after.envelope().is_within(before.envelope()), || {
        format!("{caveat:?} widens")
    })?;
    let same = after.segments() == before.segments()
        && (after.task(), after.agent()) == (before.task(), before.agent())
        && (after.holder(), after.root()) == (before.holder(), before.root());
    ensure(same, || format!("{caveat:?} changes who it stands for"))
}

/// Of all texts, only the proof that the holder's key made for a request is accepted for it.
///
/// # Errors
/// How it is broken.
pub fn proof_check(input: &[u8]) -> Result<(), Broken> {
    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    let Ok(text) = std::str::from_utf8(input) else {
        return Ok(());
    };
    let key = SigningKey::from_bytes(&[1; 32]);
    let holder = HolderKey::from_bytes(key.verifying_key().to_bytes());
    let holder = must(holder, "a public key is a holder's")?;
    let request = ProofRequest {
        method: "POST",
        path: "/mcp",
        body: Digest([1; 32]),
        token: Digest([2; 32]),
    };
    let elsewhere = ProofRequest {
        path: "/other",
        ..request
    };
    let read = Proof::parse(text);
    if let Ok(read) = &read {
        ensure(read.to_string() == text, || "another text".to_owned())?;
    }
    for request in [request, elsewhere] {
        let genuine = Proof::sign(&key, &request, Nonce([3; 16]), NOW).to_string();
        let accepted = read
            .as_ref()
            .is_ok_and(|read| read.check(&holder, &request, NOW, proof::SKEW).is_ok());
        ensure(accepted == (text == genuine), || {
            format!("accepted for {}: {accepted}", request.path)
        })?;
    }
    Ok(())
}
