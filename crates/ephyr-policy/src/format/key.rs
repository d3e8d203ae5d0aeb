//! Public keys, fingerprints and password hashes.

use ephyr_token::{PointFault, usable_point};
use ssh_key::{Algorithm, Fingerprint, HashAlg, PublicKey};

use crate::text::TextFault;

/// Parses an Ed25519 key as written in `known_hosts` and `authorized_keys`: `ssh-ed25519 AAAA… [comment]`.
pub(crate) fn parse(text: &str) -> Result<PublicKey, String> {
    let key = read(text)?;
    match key.algorithm() {
        Algorithm::Ed25519 => Ok(key),
        other => Err(format!(
            "key of type {other} is not supported; use an ssh-ed25519 key"
        )),
    }
}

/// Checks a target's Ed25519 key. For a key of another supported type, the message says how to pin it.
pub(super) fn check_host_key(text: &str) -> Result<(), String> {
    let key = read(text)?;
    match key.algorithm() {
        Algorithm::Ed25519 => Ok(()),
        kind @ Algorithm::Ecdsa { .. } => Err(format!(
            "key of type {kind}, which `host_key` does not accept; pin its fingerprint instead: \
             `host_key_fingerprint: {}`",
            key.fingerprint(HashAlg::Sha256)
        )),
        other => Err(format!(
            "key of type {other}, which is not supported for host keys; pin the target's ssh-ed25519 key, or \
             the fingerprint (`SHA256:…`) of its ECDSA key under `host_key_fingerprint`"
        )),
    }
}

fn read(text: &str) -> Result<PublicKey, String> {
    let key = PublicKey::from_openssh(text).map_err(|_| {
        "not an OpenSSH public key; write `ssh-ed25519 AAAA… comment`, without a host name or options before it"
            .to_owned()
    })?;
    check_point(&key).map_err(|fault| {
        format!("unusable ssh-ed25519 key: {fault}; get the key from its owner again")
    })?;
    Ok(key)
}

/// Checks that the point of an Ed25519 key is usable; keys of other types are not checked.
///
/// # Errors
/// Returns a [`PointFault`] if signatures of the key would prove nothing, or if the same key could have two
/// fingerprints.
pub fn check_point(key: &PublicKey) -> Result<(), PointFault> {
    match key.key_data().ed25519() {
        Some(point) => usable_point(&point.0).map(drop),
        None => Ok(()),
    }
}

/// Parses a SHA-256 fingerprint as `ssh-keygen -l` prints it.
pub(crate) fn parse_fingerprint(text: &str) -> Result<Fingerprint, TextFault> {
    text.parse::<Fingerprint>()
        .ok()
        .filter(|parsed| parsed.is_sha256() && parsed.to_string() == text)
        .ok_or_else(|| {
            let message = "not a SHA-256 fingerprint; write `SHA256:` and 43 characters, as \
                           `ssh-keygen -lf FILE` prints it";
            ("E-FINGERPRINT", message.to_owned())
        })
}

/// Checks a bcrypt hash: `$2a$`, `$2b$` or `$2y$`, the cost, 22 characters of salt and 31 of hash.
pub(super) fn check_bcrypt(text: &str) -> Result<(), TextFault> {
    // A hash is a credential, so the messages do not quote the text.
    let Some(cost) = bcrypt_cost(text) else {
        let message = "not a bcrypt hash; `ephyr keys new` prints a key and its hash";
        return Err(("E-NOT-BCRYPT", message.into()));
    };
    if (4..=14).contains(&cost) {
        return Ok(());
    }
    let message = format!(
        "bcrypt cost {cost} is outside 4 to 14; above 14 each authentication takes seconds; use 10"
    );
    Err(("E-BCRYPT-COST", message))
}

/// Returns the cost of a well-formed bcrypt hash.
pub(crate) fn bcrypt_cost(text: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))?;
    let (cost, hash) = rest.split_once('$')?;
    let radix64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/');
    let formed = cost.len() == 2
        && cost.bytes().all(|b| b.is_ascii_digit())
        && hash.len() == 53
        && hash.bytes().all(radix64);
    if formed { cost.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ecdsa_host_key_error_names_the_fingerprint_to_pin() {
        let p256 = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH\
                    +Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
        let message = check_host_key(p256).unwrap_err();
        let key = PublicKey::from_openssh(p256).unwrap();
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        assert!(
            message.contains(&format!("host_key_fingerprint: {fingerprint}")),
            "{message}"
        );
        assert!(parse_fingerprint(&fingerprint).is_ok());
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let good =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLCAUUEqc3qksi4WO6zE3eR2BHZc/8F0KIJ/xvjmQH0";
        let weak =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for check in [|text: &str| parse(text).map(drop), check_host_key] {
            assert_eq!(check(good), Ok(()));
            assert!(check(weak).unwrap_err().contains("small order"));
        }
    }
}
