//! Tokens, caveats and proofs.

use ed25519_dalek::SigningKey;
use ephyr_names::{Digest, Timestamp};
use ephyr_token::{
    HolderCaveat, HolderKey, MAX_TOKEN_BYTES, Nonce, Proof, ProofRequest, RootKey, Token,
    TokenError, UnverifiedToken, VerifiedToken, explain, proof,
};

use crate::{Violation, ensure, expect_ok};

// The independent token encoder of ephyr-token's tests; it shares no code with that crate.
#[path = "../../ephyr-token/tests/support/forge.rs"]
#[allow(
    dead_code,
    clippy::expect_used,
    reason = "only a part of it is used, with well-formed tokens"
)]
mod forge;

const KEY: [u8; 32] = [7; 32];

/// The caveats of an unlimited root.
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

/// Checks that a parsed token is encoded as the same text, that explaining it never claims verification, and
/// that no input verifies under an unrelated key.
///
/// # Errors
/// The violation.
pub fn token_decode(input: &[u8]) -> Result<(), Violation> {
    let Ok(text) = std::str::from_utf8(input) else {
        return Ok(());
    };
    let Ok(token) = Token::from_text(text) else {
        let refused = UnverifiedToken::parse(text).is_err() && explain(text).is_err();
        return ensure(refused, || "only some parsers refuse the text".to_owned());
    };
    ensure(token.as_text() == text, || {
        "the text is not canonical".to_owned()
    })?;
    ensure(token.len() <= MAX_TOKEN_BYTES, || {
        "the token exceeds the limit".to_owned()
    })?;
    let explained = expect_ok(explain(text), "a parsed token cannot be explained")?;
    ensure(!explained.verified, || {
        "the explanation claims verification".to_owned()
    })?;
    ensure(
        explained.broker_caveats.len() == token.broker_caveats(),
        || "the section boundaries differ".to_owned(),
    )?;
    let unrelated = RootKey::from_bytes([0xA5; 32]);
    let verified = UnverifiedToken::from(token).verify(&unrelated);
    ensure(verified.is_err(), || {
        "the token verifies under an unrelated key".to_owned()
    })
}

/// Checks that an appendable caveat round-trips, verifies and narrows, and that any other caveat makes the
/// token invalid.
///
/// # Errors
/// The violation.
pub fn caveat_parse(input: &[u8]) -> Result<(), Violation> {
    if input.len() > 6000 {
        return Ok(());
    }
    let open = forge::Forge::new(KEY, OPEN.len(), &OPEN).text();
    let before = expect_ok(verify(&open), "the open token does not verify")?;
    let after = verify(&forge::append(&open, input));
    let caveat = std::str::from_utf8(input)
        .ok()
        .and_then(|text| text.parse::<HolderCaveat>().ok());
    ensure(caveat.is_some() == after.is_ok(), || {
        "the parser and the verifier disagree".to_owned()
    })?;
    if let (Some(caveat), Ok(after)) = (caveat, after) {
        ensure(caveat.to_string().as_bytes() == input, || {
            format!("the caveat is formatted as {caveat}")
        })?;
        keeps(&before, &after, &caveat.to_string())?;
    }
    Ok(())
}

/// Checks that appending never widens authority and never changes task, agent or holder. The input has one
/// caveat per line; an empty line ends the broker section.
///
/// # Errors
/// The violation.
pub fn reduce_monotonic(input: &[u8]) -> Result<(), Violation> {
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

/// Checks that `after` has the identity of `before` and no more authority.
fn keeps(before: &VerifiedToken, after: &VerifiedToken, caveat: &str) -> Result<(), Violation> {
    ensure(after.envelope().is_within(before.envelope()), || {
        format!("{caveat:?} widens")
    })?;
    let same = after.segments() == before.segments()
        && (after.task(), after.agent()) == (before.task(), before.agent())
        && (after.holder(), after.root()) == (before.holder(), before.root());
    ensure(same, || format!("{caveat:?} changes task, agent or holder"))
}

/// Checks that the only text accepted as proof of a request is the holder's signature of it.
///
/// # Errors
/// The violation.
pub fn proof_check(input: &[u8]) -> Result<(), Violation> {
    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    let Ok(text) = std::str::from_utf8(input) else {
        return Ok(());
    };
    let key = SigningKey::from_bytes(&[1; 32]);
    let holder = HolderKey::from_bytes(key.verifying_key().to_bytes());
    let holder = expect_ok(holder, "the public key is refused")?;
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
        ensure(read.to_string() == text, || {
            "the text is not canonical".to_owned()
        })?;
    }
    for request in [request, elsewhere] {
        let genuine = Proof::sign(&key, &request, Nonce([3; 16]), NOW).to_string();
        let accepted = read
            .as_ref()
            .is_ok_and(|read| read.check(&holder, &request, NOW, proof::SKEW).is_ok());
        ensure(accepted == (text == genuine), || {
            format!("the proof for {} is accepted: {accepted}", request.path)
        })?;
    }
    Ok(())
}
