//! SSHSIG, delegation certificates, receipts and proofs: valid ones verify, all others are refused.

#[cfg(test)]
mod support;

use ed25519_dalek::{Signer, SigningKey};
use ephyr_names::{Digest, RecordId, Timestamp, Ttl};
use ephyr_token::sshsig::{self, Namespace, SshsigError};
use ephyr_token::{
    DelegationCertificate, DelegationError, DelegationPayload, HolderKey, Nonce, Proof, ProofError,
    ProofRequest, Receipt, ReceiptError, proof,
};
use proptest::prelude::*;
use ssh_key::private::{Ed25519Keypair, PrivateKey};
use ssh_key::public::{KeyData, OpaquePublicKey};
use ssh_key::{Algorithm, PublicKey, Signature};
use support::{epoch, holder, signing_key};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn ca(n: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[n; 32]))
}

mod ssh_keygen {
    //! Signatures of `fixtures/message` by `ssh-keygen -Y sign`.
    pub(crate) const MESSAGE: &[u8] = include_bytes!("fixtures/message");
    pub(crate) const KEY: &str = include_str!("fixtures/ed25519.pub");
    pub(crate) const CHECKPOINT: &str = include_str!("fixtures/ed25519-checkpoint.sig");
    pub(crate) const APPROVAL: &str = include_str!("fixtures/ed25519-approval.sig");
}

#[test]
fn ssh_keygen_signatures_verify_only_in_their_namespace() {
    let key: PublicKey = ssh_keygen::KEY.parse().unwrap();
    let check = |namespace, message: &[u8], signature: &str| {
        sshsig::verify(&key, namespace, message, signature)
    };
    let message = ssh_keygen::MESSAGE;
    assert_eq!(
        check(Namespace::Checkpoint, message, ssh_keygen::CHECKPOINT),
        Ok(())
    );
    assert_eq!(
        check(Namespace::Approval, message, ssh_keygen::APPROVAL),
        Ok(())
    );
    for other in [Namespace::Delegation, Namespace::Krl, Namespace::Approval] {
        let refused = check(other, message, ssh_keygen::CHECKPOINT);
        assert_eq!(refused, Err(SshsigError::Namespace), "{other:?}");
    }
    let longer = [message, b"\n"].concat();
    let refused = check(Namespace::Checkpoint, &longer, ssh_keygen::CHECKPOINT);
    assert_eq!(refused, Err(SshsigError::Signature));
    let refused = check(
        Namespace::Checkpoint,
        message,
        "-----BEGIN SSH SIGNATURE-----",
    );
    assert_eq!(refused, Err(SshsigError::Malformed));
}

/// A key of a private algorithm, which no build option of the library supports.
struct Unknown(Algorithm);

impl From<&Unknown> for KeyData {
    fn from(key: &Unknown) -> Self {
        Self::Other(OpaquePublicKey::new(vec![1; 32], key.0.clone()))
    }
}

impl Signer<Signature> for Unknown {
    fn try_sign(&self, _: &[u8]) -> Result<Signature, ed25519_dalek::ed25519::signature::Error> {
        Signature::new(Algorithm::Ed25519, vec![0; 64]).map_err(Into::into)
    }
}

#[test]
fn nonempty_reserved_field_is_refused() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let key: PublicKey = ssh_keygen::KEY.parse().unwrap();
    let body: String = ssh_keygen::CHECKPOINT
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let mut bytes = STANDARD.decode(body).unwrap();
    // Layout: SSHSIG, version, key, namespace, reserved, …
    let namespace = b"ephyr-checkpoint";
    let found = bytes
        .windows(namespace.len())
        .position(|window| window == namespace);
    let reserved = found.unwrap() + namespace.len();
    let check = |bytes: &[u8]| {
        let lines: Vec<String> = STANDARD
            .encode(bytes)
            .as_bytes()
            .chunks(70)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        let pem = format!(
            "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
            lines.join("\n")
        );
        sshsig::verify(&key, Namespace::Checkpoint, ssh_keygen::MESSAGE, &pem)
    };
    assert_eq!(check(&bytes), Ok(()));
    assert_eq!(bytes[reserved..reserved + 4], [0; 4]);
    bytes.splice(reserved..reserved + 4, [0, 0, 0, 1, b'x']);
    assert_eq!(check(&bytes), Err(SshsigError::Namespace));
}

#[test]
fn only_ed25519_keys_sign_and_verify() {
    let unknown = Unknown(Algorithm::new("key@example.com").unwrap());
    let refused = sshsig::sign(&unknown, Namespace::Krl, b"m");
    assert_eq!(refused, Err(SshsigError::Algorithm));
    let key = PublicKey::new(KeyData::from(&unknown), "");
    let signature = sshsig::sign(&ca(1), Namespace::Krl, b"m").unwrap();
    let refused = sshsig::verify(&key, Namespace::Krl, b"m", &signature);
    assert_eq!(refused, Err(SshsigError::Algorithm));
}

#[test]
fn signature_by_another_key_is_refused() {
    let signature = sshsig::sign(&ca(1), Namespace::Krl, b"m").unwrap();
    assert_eq!(
        sshsig::verify(ca(1).public_key(), Namespace::Krl, b"m", &signature),
        Ok(())
    );
    let refused = sshsig::verify(ca(2).public_key(), Namespace::Krl, b"m", &signature);
    assert_eq!(refused, Err(SshsigError::Key));
}

fn payload() -> DelegationPayload {
    DelegationPayload {
        epoch: epoch(),
        broker_id: "broker \"1\" <&>".to_owned(),
        public_key: broker().verifying_key().to_bytes(),
        issued_at: NOW,
        mint_until: NOW.after(Ttl::from_secs(3600)),
        valid_until: NOW.after(Ttl::from_secs(7200)),
    }
}

fn broker() -> SigningKey {
    SigningKey::from_bytes(&[4; 32])
}

fn certificate() -> DelegationCertificate {
    support::certificate(NOW.unix_millis(), &ca(1), &broker())
}

#[test]
fn delegation_payload_is_compact_json_in_field_order() {
    let expected = r#"{"epoch":"01KAT0000000000000000EP0CH","broker_id":"broker \"1\" <&>","public_key":"KEY","issued_at":"2027-01-15T08:00:00Z","mint_until":"2027-01-15T09:00:00Z","valid_until":"2027-01-15T10:00:00Z"}"#;
    let bytes = String::from_utf8(payload().bytes()).unwrap();
    let key = serde_json::to_value(payload()).unwrap()["public_key"].clone();
    let key = key.as_str().unwrap();
    assert_eq!(key.len(), 43);
    assert_eq!(bytes, expected.replace("KEY", key));
}

#[test]
fn foreign_altered_or_expired_delegation_is_refused() {
    let certificate = certificate();
    let ours = ca(1);
    certificate.verify(ours.public_key(), NOW).unwrap();
    let other = certificate.verify(ca(2).public_key(), NOW);
    assert_eq!(other, Err(DelegationError::Signature(SshsigError::Key)));
    let altered = |change: fn(&mut DelegationPayload)| {
        let mut altered = certificate.clone();
        change(&mut altered.payload);
        altered.verify(ours.public_key(), NOW)
    };
    let refused = Err(DelegationError::Signature(SshsigError::Signature));
    assert_eq!(altered(|p| p.broker_id.push('x')), refused);
    assert_eq!(altered(|p| p.public_key[0] ^= 1), refused);
    assert_eq!(
        altered(|p| p.valid_until = p.valid_until.after(Ttl::from_secs(1))),
        refused
    );
    let end = certificate.payload.valid_until;
    assert_eq!(
        certificate.verify(ours.public_key(), end),
        Err(DelegationError::Ended(end))
    );
}

#[test]
fn delegation_with_invalid_times_is_neither_signed_nor_accepted() {
    let wrong: [fn(&mut DelegationPayload); 3] = [
        |p| p.mint_until = p.issued_at.after(Ttl::from_secs(24 * 3600 + 1)),
        |p| p.issued_at = p.mint_until.after(Ttl::from_secs(1)),
        |p| p.valid_until = p.issued_at,
    ];
    for change in wrong {
        let mut payload = payload();
        payload.valid_until = NOW.after(Ttl::from_secs(48 * 3600));
        change(&mut payload);
        let refused = DelegationCertificate::sign(payload.clone(), &ca(1));
        assert_eq!(refused.unwrap_err(), DelegationError::Times);
        let signature = sshsig::sign(&ca(1), Namespace::Delegation, &payload.bytes()).unwrap();
        let made = DelegationCertificate { payload, signature };
        assert_eq!(
            made.verify(ca(1).public_key(), NOW),
            Err(DelegationError::Times)
        );
    }
}

#[test]
fn receipt_round_trips_and_outlives_its_epoch() {
    let certificate = certificate();
    let receipt = support::receipt(
        &broker(),
        RecordId::from_bits(7),
        Digest([8; 32]),
        certificate.id(),
    );
    let text = receipt.to_string();
    assert_eq!(text.len(), "rcpt_".len() + 194);
    let read: Receipt = text.parse().unwrap();
    assert_eq!(read, receipt);
    read.verify(&certificate, ca(1).public_key()).unwrap();
    // The first byte is the version; `AQ` begins version 1.
    let later = text.replacen("rcpt_AQ", "rcpt_Ag", 1);
    assert_ne!(later, text);
    assert_eq!(later.parse::<Receipt>(), Err(ReceiptError::Malformed));
}

#[test]
fn altered_or_foreign_receipt_is_refused() {
    let certificate = certificate();
    let ours = ca(1);
    let good = support::receipt(
        &broker(),
        RecordId::from_bits(7),
        Digest([8; 32]),
        certificate.id(),
    );
    let check = |receipt: Receipt| receipt.verify(&certificate, ours.public_key());
    let refused = Err(ReceiptError::Signature);
    assert_eq!(
        check(Receipt {
            record: RecordId::from_bits(6),
            ..good
        }),
        refused
    );
    assert_eq!(
        check(Receipt {
            record_hash: Digest([9; 32]),
            ..good
        }),
        refused
    );
    let other = Digest([1; 32]);
    let elsewhere = Err(ReceiptError::OtherCertificate(other));
    assert_eq!(
        check(Receipt {
            certificate: other,
            ..good
        }),
        elsewhere
    );
    let stranger = SigningKey::from_bytes(&[5; 32]);
    let forged = support::receipt(&stranger, good.record, good.record_hash, good.certificate);
    assert_eq!(check(forged), refused);
    // A certificate by another CA does not validate a receipt.
    let foreign = good.verify(&certificate, ca(2).public_key());
    let reason = DelegationError::Signature(SshsigError::Key);
    assert_eq!(foreign, Err(ReceiptError::Certificate(reason)));
    let text = good.to_string();
    for bad in [
        &text[1..],
        &text[..text.len() - 1],
        &format!("{text}A"),
        "rcpt_",
    ] {
        assert_eq!(
            bad.parse::<Receipt>(),
            Err(ReceiptError::Malformed),
            "{bad}"
        );
    }
}

fn request() -> ProofRequest<'static> {
    ProofRequest {
        method: "POST",
        path: "/mcp?x=1",
        body: Digest([1; 32]),
        token: Digest([2; 32]),
    }
}

fn proven(change: impl Fn(&mut ProofRequest<'static>)) -> Result<ephyr_token::Proven, ProofError> {
    let proof = Proof::sign(&signing_key(1), &request(), Nonce([3; 16]), NOW);
    let mut received = request();
    change(&mut received);
    Proof::parse(&proof.to_string())?.check(&holder(1), &received, NOW, proof::SKEW)
}

#[test]
fn proof_verifies_for_its_request_and_returns_its_nonce() {
    let proven = proven(|_| {}).unwrap();
    assert_eq!((proven.nonce, proven.time), (Nonce([3; 16]), NOW));
}

#[test]
fn w17_proof_is_refused_for_another_request() {
    assert_eq!(proven(|r| r.method = "GET"), Err(ProofError::Request));
    assert_eq!(proven(|r| r.path = "/mcp"), Err(ProofError::Request));
    assert_eq!(proven(|r| r.path = "/mcp?x=2"), Err(ProofError::Request));
    assert_eq!(proven(|r| r.body = Digest([0; 32])), Err(ProofError::Body));
    assert_eq!(
        proven(|r| r.token = Digest([0; 32])),
        Err(ProofError::Token)
    );
}

#[test]
fn proof_signature_is_checked_first() {
    let proof = Proof::sign(&signing_key(2), &request(), Nonce([3; 16]), NOW);
    let mut other = request();
    other.token = Digest([0; 32]);
    let refused = proof.check(&holder(1), &other, NOW, proof::SKEW);
    assert_eq!(refused, Err(ProofError::Signature));
}

#[test]
fn proof_is_valid_within_thirty_seconds_of_its_time() {
    let proof = Proof::sign(&signing_key(1), &request(), Nonce([3; 16]), NOW);
    let at = |ms: i64| {
        let now = Timestamp::from_unix_millis(NOW.unix_millis() + ms);
        proof
            .check(&holder(1), &request(), now, proof::SKEW)
            .map(drop)
    };
    assert_eq!(at(30_000), Ok(()));
    assert_eq!(at(-30_000), Ok(()));
    assert!(matches!(at(30_001), Err(ProofError::Time { .. })));
    assert!(matches!(at(-30_001), Err(ProofError::Time { .. })));
}

#[test]
fn proof_with_extreme_time_is_refused_without_overflow() {
    for time in [i64::MIN, i64::MAX] {
        let time = Timestamp::from_unix_millis(time);
        let proof = Proof::sign(&signing_key(1), &request(), Nonce([3; 16]), time);
        let refused = proof.check(&holder(1), &request(), NOW, proof::SKEW);
        assert!(
            matches!(&refused, Err(ProofError::Time { .. })),
            "{refused:?}"
        );
        assert!(!refused.unwrap_err().to_string().is_empty());
    }
}

#[test]
fn proof_has_exactly_one_text() {
    let text = Proof::sign(&signing_key(1), &request(), Nonce([3; 16]), NOW).to_string();
    assert_eq!(text.len(), 247);
    assert!(Proof::parse(&text).is_ok());
    for bad in [
        "",
        &text[1..],
        &format!("{text}A"),
        &format!("{text}="),
        &format!(" {text}"),
    ] {
        assert_eq!(
            Proof::parse(bad).map(drop),
            Err(ProofError::Malformed),
            "{bad}"
        );
    }
    let version = format!("Ag{}", &text[2..]);
    assert_eq!(Proof::parse(&version).map(drop), Err(ProofError::Malformed));
}

#[test]
fn unusable_holder_keys_are_refused() {
    // The neutral element, which has a small order, and a y coordinate of no point on the curve.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert!(HolderKey::from_bytes(neutral).is_err());
    let mut nowhere = [0; 32];
    nowhere[0] = 2;
    assert!(HolderKey::from_bytes(nowhere).is_err());
    assert!(
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            .parse::<HolderKey>()
            .is_err()
    );
    assert_eq!(holder(1).to_string().parse::<HolderKey>(), Ok(holder(1)));
}

proptest! {
    #[test]
    fn proof_with_any_bit_flipped_is_refused(bit in 0..185 * 8usize) {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let text = Proof::sign(&signing_key(1), &request(), Nonce([3; 16]), NOW).to_string();
        let mut bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(proof) = Proof::parse(&URL_SAFE_NO_PAD.encode(bytes)) else { return Ok(()) };
        let refused = proof.check(&holder(1), &request(), NOW, proof::SKEW);
        prop_assert_eq!(refused, Err(ProofError::Signature));
    }
}
