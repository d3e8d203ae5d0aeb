//! A text that is read as a token is that token's only text, and explaining it never panics nor
//! claims that it is verified.
#![no_main]

use ephyr_token::{RootKey, Token, UnverifiedToken, explain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(token) = Token::from_text(text) else {
        assert!(UnverifiedToken::parse(text).is_err() && explain(text).is_err());
        return;
    };
    assert_eq!(token.as_text(), text);
    assert!(token.len() <= ephyr_token::MAX_TOKEN_BYTES);
    let explained = explain(text).expect("what is read can be explained");
    assert!(!explained.verified);
    assert_eq!(explained.broker_caveats.len(), token.broker_caveats());
    // Nobody has this key, so nothing that the fuzzer writes can carry its signature.
    let key = RootKey::from_bytes([0xA5; 32]);
    assert!(UnverifiedToken::from(token).verify(&key).is_err());
});
