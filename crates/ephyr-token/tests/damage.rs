//! Truncated, altered, extended and re-encoded tokens are refused with the matching error.

#[cfg(test)]
mod support;

use ephyr_token::{HolderCaveat, MAX_TOKEN_BYTES, MintError, Token, TokenError, UnverifiedToken};
use proptest::prelude::*;
use support::forge::{EPOCH, Forge, ROOT, append, decode, encode};
use support::{KEY, OPEN_ROOT, child, child_spec, key, open, root, verify};

fn good() -> Forge {
    Forge::new(KEY, 13, &OPEN_ROOT)
}

#[test]
fn independently_encoded_token_verifies() {
    let token = verify(&good().text()).unwrap();
    assert_eq!(token.root().to_string(), ROOT);
    assert_eq!(token.epoch().to_string(), EPOCH);
    assert_eq!(token.depth(), 0);
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = decode(&child(&root(open()), &child_spec(2)).as_text());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&encode(&flipped)).is_err(), "bit {bit}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = decode(&good().text());
    for len in 0..bytes.len() {
        let error = verify(&encode(&bytes[..len])).unwrap_err();
        let cut = [
            TokenError::Truncated,
            TokenError::Location,
            TokenError::Identifier,
        ];
        assert!(cut.contains(&error), "{len}: {error:?}");
    }
}

#[test]
fn byte_after_the_signature_is_refused() {
    let mut bytes = decode(&good().text());
    bytes.push(0);
    assert_eq!(
        verify(&encode(&bytes)).unwrap_err(),
        TokenError::TrailingBytes
    );
}

#[test]
fn token_has_exactly_one_text() {
    let text = good().text();
    let refused = |text: &str| verify(text).unwrap_err();
    assert_eq!(refused(&text[4..]), TokenError::NotAToken);
    assert_eq!(
        refused(&text.replacen("mac_", "MAC_", 1)),
        TokenError::NotAToken
    );
    assert_eq!(refused(&format!("{text}=")), TokenError::Base64);
    assert_eq!(refused(&format!("{text}\n")), TokenError::Base64);
    assert_eq!(refused(&format!("mac_ {}", &text[4..])), TokenError::Base64);
    let bytes = decode(&text);
    assert_eq!(
        bytes.len() % 3,
        1,
        "the last character must have spare bits"
    );
    let last = text.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet
        .chars()
        .nth(alphabet.find(last).unwrap() + 1)
        .unwrap();
    let respelt = format!("{}{next}", &text[..text.len() - 1]);
    assert_eq!(
        refused(&respelt),
        TokenError::Base64,
        "stray bits in the last character"
    );
}

#[test]
fn wrong_version_location_or_identifier_is_refused() {
    let with = |change: fn(&mut Forge)| {
        let mut forge = good();
        change(&mut forge);
        verify(&forge.text()).unwrap_err()
    };
    assert_eq!(with(|f| f.version = 1), TokenError::Version(1));
    assert_eq!(
        with(|f| f.location = "elsewhere".to_owned()),
        TokenError::Location
    );
    assert_eq!(with(|f| f.location.clear()), TokenError::Location);
    for identifier in [
        String::new(),
        ROOT.to_owned(),
        format!("{EPOCH}.{ROOT}"),
        format!("{EPOCH}.{ROOT}."),
        format!("{EPOCH}.{ROOT}.013"),
        format!("{EPOCH}.{ROOT}.+13"),
        format!("{EPOCH}.{ROOT}.13 "),
        format!("{EPOCH}.{ROOT}.99999999999999999999999"),
        format!("{}.{ROOT}.13", EPOCH.to_lowercase()),
        format!("{EPOCH}-{ROOT}.13"),
        format!("{EPOCH}.{}.13", "é".repeat(13)),
    ] {
        let mut forge = good();
        forge.identifier = identifier.clone();
        assert_eq!(
            verify(&forge.text()).unwrap_err(),
            TokenError::Identifier,
            "{identifier}"
        );
    }
}

#[test]
fn empty_or_overlong_broker_section_is_refused() {
    let section = |n| verify(&Forge::new(KEY, n, &OPEN_ROOT).text()).map(drop);
    assert_eq!(section(0), Err(TokenError::SectionCount));
    assert_eq!(section(14), Err(TokenError::SectionCount));
    assert_eq!(section(13), Ok(()));
}

#[test]
fn excessive_count_or_length_is_refused() {
    let bytes = decode(&good().text());
    let count_at = 5 + 56 + 4 + 12;
    for at in [1, 5 + 56, count_at, count_at + 4] {
        let mut huge = bytes.clone();
        huge[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(
            verify(&encode(&huge)).unwrap_err(),
            TokenError::Truncated,
            "at {at}"
        );
    }
}

#[test]
fn wrong_key_is_refused() {
    let other = ephyr_token::RootKey::from_bytes([0; 32]);
    let token = UnverifiedToken::parse(&good().text()).unwrap();
    assert_eq!(
        token.clone().verify(&other).unwrap_err(),
        TokenError::Signature
    );
    assert!(token.verify(&key()).is_ok());
}

#[test]
fn signature_is_checked_before_caveats() {
    let mut forge = Forge::new(KEY, 1, &["nonsense"]);
    forge.key = [1; 32];
    assert_eq!(verify(&forge.text()).unwrap_err(), TokenError::Signature);
}

#[test]
fn token_size_limit_is_exact() {
    let fill = |extra: usize| {
        let mut forge = good();
        let room = MAX_TOKEN_BYTES - forge.bytes().len() - 4 - "target IN []".len();
        let names: Vec<String> = (0..)
            .map(|i| format!("t{i:05}"))
            .take((room + 1) / 7)
            .collect();
        let mut list = names.join(",");
        let missing = room + extra - list.len();
        list.push_str(&"x".repeat(missing));
        forge
            .caveats
            .push(format!("target IN [{list}]").into_bytes());
        forge.bytes()
    };
    let full = encode(&fill(0));
    assert_eq!(decode(&full).len(), MAX_TOKEN_BYTES);
    assert!(verify(&full).is_ok());
    assert_eq!(verify(&encode(&fill(1))).unwrap_err(), TokenError::TooLong);
    assert_eq!(
        verify(&format!("mac_{}", "A".repeat(20_000))).unwrap_err(),
        TokenError::TooLong
    );

    let token = Token::from_text(&full).unwrap();
    let appended = token.append(&HolderCaveat::can_delegate(false));
    assert_eq!(
        appended.unwrap_err(),
        MintError::TooLong { len: 8192 + 4 + 20 }
    );
}

#[test]
fn append_agrees_with_an_independent_encoder() {
    let caveat: HolderCaveat = "ssh IN [web:read+operator,db:read]".parse().unwrap();
    let token = Token::from_text(&good().text()).unwrap();
    let ours = token.append(&caveat).unwrap().as_text();
    assert_eq!(
        ours,
        append(&good().text(), b"ssh IN [web:read+operator,db:read]")
    );
    assert!(verify(&ours).is_ok());
}

#[test]
fn debug_shows_only_the_digest() {
    let token = root(open());
    assert_eq!(
        format!("{token:?}"),
        format!("Token(sha256 {})", token.digest())
    );
    let unverified = format!("{:?}", UnverifiedToken::from(token.clone()));
    assert!(!unverified.contains(&token.as_text()[4..40]));
}

proptest! {
    #[test]
    fn token_text_round_trips(seed in any::<[u8; 32]>(), n in 0..4usize) {
        let mut forge = good();
        forge.key = seed;
        for _ in 0..n {
            forge.caveats.push(b"target IN [a]".to_vec());
        }
        let text = forge.text();
        let token = Token::from_text(&text).unwrap();
        prop_assert_eq!(token.as_text(), text);
        prop_assert_eq!(token.len(), forge.bytes().len());
    }
}
