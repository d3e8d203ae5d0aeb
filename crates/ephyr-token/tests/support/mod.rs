//! Helpers for the tests of this crate.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod forge;
pub(crate) mod naive;

use ed25519_dalek::{Signer as _, SigningKey};
use ephyr_names::{Digest, EpochId, RecordId, TaskId, Timestamp};
use ephyr_token::{
    ChildSpec, DelegationCertificate, DelegationPayload, Envelope, Grants, HolderKey, Narrowing,
    Receipt, RootKey, RootSpec, Scope, Token, TokenError, UnverifiedToken, VerifiedToken,
    mint_child, mint_root,
};

pub(crate) const KEY: [u8; 32] = *b"a root key of thirty-two bytes..";
pub(crate) const EXPIRES: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

pub(crate) fn key() -> RootKey {
    RootKey::from_bytes(KEY)
}

/// A root segment without limits in any of the eight dimensions.
pub(crate) const OPEN_ROOT: [&str; 13] = [
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

pub(crate) fn verify(text: &str) -> Result<VerifiedToken, TokenError> {
    UnverifiedToken::parse(text)?.verify(&key())
}

pub(crate) fn verified(token: &Token) -> VerifiedToken {
    verify(&token.as_text()).expect("a minted token verifies")
}

pub(crate) fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a name")
}

pub(crate) fn scope<T: Ord + std::str::FromStr>(names: &[&str]) -> Scope<T>
where
    T::Err: std::fmt::Debug,
{
    names.iter().copied().map(name).collect()
}

pub(crate) fn grants<K, V>(pairs: &[(&str, &str)]) -> Grants<K, V>
where
    K: Ord + std::str::FromStr,
    V: Ord + std::str::FromStr,
    K::Err: std::fmt::Debug,
    V::Err: std::fmt::Debug,
{
    pairs
        .iter()
        .map(|(key, value)| (name(key), name(value)))
        .collect()
}

pub(crate) fn task(n: u128) -> TaskId {
    TaskId::from_bits(n)
}

pub(crate) fn epoch() -> EpochId {
    name(forge::EPOCH)
}

/// Returns the public key of the Ed25519 seed whose bytes are all `n`.
pub(crate) fn holder(n: u8) -> HolderKey {
    HolderKey::from_bytes(signing_key(n).verifying_key().to_bytes()).expect("a key")
}

pub(crate) fn signing_key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

pub(crate) fn open() -> Envelope {
    Envelope::any(EXPIRES, true, 5)
}

pub(crate) fn root_spec(envelope: Envelope) -> RootSpec {
    RootSpec {
        task: task(1),
        agent: name("builder"),
        holder: None,
        initiated_by: None,
        envelope,
    }
}

pub(crate) fn root(envelope: Envelope) -> Token {
    mint_root(&key(), epoch(), &root_spec(envelope)).expect("a root token")
}

pub(crate) fn child_spec(n: u128) -> ChildSpec {
    ChildSpec {
        task: task(n),
        agent: name("deployer"),
        holder: None,
        narrowing: Narrowing::default(),
        expires: EXPIRES,
        can_delegate: true,
        delegation_depth: None,
    }
}

pub(crate) fn child(parent: &Token, spec: &ChildSpec) -> Token {
    mint_child(&key(), &verified(parent), spec).expect("a child token")
}

/// Returns a certificate from a signer whose clock shows `issued`, in Unix milliseconds.
pub(crate) fn certificate(
    issued: i64,
    ca: &ssh_key::PrivateKey,
    broker: &SigningKey,
) -> DelegationCertificate {
    let payload = DelegationPayload {
        epoch: epoch(),
        broker_id: "broker-1".to_owned(),
        public_key: broker.verifying_key().to_bytes(),
        issued_at: Timestamp::from_unix_millis(issued),
        mint_until: Timestamp::from_unix_millis(issued + 3_600_000),
        valid_until: Timestamp::from_unix_millis(issued + 7_200_000),
    };
    DelegationCertificate::sign(payload, ca).expect("a certificate")
}

/// Signs a receipt with an epoch key.
pub(crate) fn receipt(
    key: &SigningKey,
    record: RecordId,
    hash: Digest,
    certificate: Digest,
) -> Receipt {
    let sign = |message: &[u8]| Ok::<_, std::convert::Infallible>(key.sign(message).to_bytes());
    match Receipt::sign(record, hash, certificate, sign) {
        Ok(receipt) => receipt,
        Err(never) => match never {},
    }
}
