//! Whatever the broker's section says and whatever is appended: authority never grows, and task,
//! agent and holder never change.
//!
//! The input is lines of caveats; an empty line ends the broker's section.
#![no_main]

use ephyr_token::{RootKey, UnverifiedToken};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/ephyr-token/tests/support/forge.rs"]
#[allow(dead_code)]
mod forge;

const KEY: [u8; 32] = [7; 32];

fuzz_target!(|text: &str| {
    if text.len() > 4000 {
        return;
    }
    let (broker, holder) = text.split_once("\n\n").unwrap_or((text, ""));
    let broker: Vec<&str> = broker.lines().collect();
    let mut token = forge::Forge::new(KEY, broker.len(), &broker).text();
    let key = RootKey::from_bytes(KEY);
    let verify = |text: &str| UnverifiedToken::parse(text).and_then(|token| token.verify(&key));
    let Ok(mut before) = verify(&token) else {
        return;
    };
    for caveat in holder.lines() {
        token = forge::append(&token, caveat.as_bytes());
        let Ok(after) = verify(&token) else {
            return;
        };
        assert!(after.envelope().is_within(before.envelope()), "{caveat}");
        assert_eq!(after.segments(), before.segments(), "{caveat}");
        assert_eq!(
            (after.task(), after.agent()),
            (before.task(), before.agent()),
            "{caveat}"
        );
        assert_eq!(
            (after.holder(), after.root()),
            (before.holder(), before.root()),
            "{caveat}"
        );
        before = after;
    }
});
