//! Of all texts, only the proof that the holder's key made for a request is accepted for it.
#![no_main]

use ed25519_dalek::SigningKey;
use ephyr_names::{Digest, Timestamp};
use ephyr_token::{HolderKey, Nonce, Proof, ProofRequest, proof};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fuzz_target!(|text: &str| {
    let key = SigningKey::from_bytes(&[1; 32]);
    let holder = HolderKey::from_bytes(key.verifying_key().to_bytes()).expect("a key");
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
        assert_eq!(read.to_string(), text);
    }
    for request in [request, elsewhere] {
        let genuine = Proof::sign(&key, &request, Nonce([3; 16]), NOW).to_string();
        let accepted = read
            .as_ref()
            .is_ok_and(|read| read.check(&holder, &request, NOW, proof::SKEW).is_ok());
        assert_eq!(accepted, text == genuine);
    }
});
