//! A caveat that can be appended is written as it was read, verifies and narrows; one that cannot
//! be appended makes the token refused.
#![no_main]

use ephyr_token::{HolderCaveat, RootKey, UnverifiedToken};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/ephyr-token/tests/support/forge.rs"]
#[allow(dead_code)]
mod forge;

const KEY: [u8; 32] = [7; 32];
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

fuzz_target!(|bytes: &[u8]| {
    if bytes.len() > 6000 {
        return;
    }
    let key = RootKey::from_bytes(KEY);
    let verify = |text: &str| UnverifiedToken::parse(text).and_then(|token| token.verify(&key));
    let open = forge::Forge::new(KEY, OPEN.len(), &OPEN).text();
    let before = verify(&open).expect("the open token is good");
    let after = verify(&forge::append(&open, bytes));
    let caveat = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse::<HolderCaveat>().ok());
    assert_eq!(caveat.is_some(), after.is_ok());
    if let (Some(caveat), Ok(after)) = (caveat, after) {
        assert_eq!(caveat.to_string().as_bytes(), bytes);
        assert!(after.envelope().is_within(before.envelope()));
        assert_eq!(after.segments(), before.segments());
    }
});
