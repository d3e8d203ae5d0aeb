//! Public keys, fingerprints and password hashes.

use ssh_key::{Algorithm, Fingerprint, PublicKey};

use super::Wrong;

/// An Ed25519 key in the form of `known_hosts` and `authorized_keys`: `ssh-ed25519 AAAA… [comment]`.
pub(crate) fn parse(text: &str) -> Result<PublicKey, String> {
    let key = PublicKey::from_openssh(text).map_err(|_| {
        "not an OpenSSH public key; it looks like `ssh-ed25519 AAAA… comment`, without a host name or \
         options before it"
            .to_owned()
    })?;
    match key.algorithm() {
        Algorithm::Ed25519 => Ok(key),
        other => Err(format!("a key of type {other}; use an ssh-ed25519 key")),
    }
}

/// A SHA-256 fingerprint as `ssh-keygen -l` prints it.
pub(crate) fn parse_fingerprint(text: &str) -> Result<Fingerprint, Wrong> {
    text.parse::<Fingerprint>()
        .ok()
        .filter(|parsed| parsed.is_sha256() && parsed.to_string() == text)
        .ok_or_else(|| {
            let message = "not a SHA-256 fingerprint; it looks like `SHA256:` and 43 characters, as \
                           `ssh-keygen -lf FILE` prints it";
            ("E-FINGERPRINT", message.to_owned())
        })
}

/// A bcrypt hash: `$2a$`, `$2b$` or `$2y$`, the cost, 22 characters of salt and 31 of hash.
pub(super) fn check_bcrypt(text: &str) -> Result<(), Wrong> {
    // A hash is a credential, so nothing of the text is repeated.
    let Some(cost) = bcrypt_cost(text) else {
        let message = "not a bcrypt hash; `ephyr keys new` prints a key and its hash";
        return Err(("E-NOT-BCRYPT", message.into()));
    };
    if (4..=14).contains(&cost) {
        return Ok(());
    }
    let message = format!(
        "a bcrypt cost of {cost}: below 4 does not exist and above 14 each login takes seconds; use 10"
    );
    Err(("E-BCRYPT-COST", message))
}

/// The cost of a well-formed bcrypt hash.
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
