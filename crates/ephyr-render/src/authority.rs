//! The appliance whose certificates a target accepts: its name on the target, and its CA keys.

use std::fmt;
use std::str::FromStr;

use ephyr_policy::check_point;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// The name of an appliance on its targets: a lowercase letter, then at most 30 lowercase letters, digits and `-`,
/// since it is part of file names that sshd and sudo read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityName(String);

/// The error for a text that is not an authority name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an authority name: use a lowercase letter, then at most 30 lowercase letters, digits and `-`"
)]
pub struct AuthorityNameError(String);

impl AuthorityName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AuthorityName {
    type Err = AuthorityNameError;

    fn from_str(text: &str) -> Result<Self, AuthorityNameError> {
        let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let good = text.len() <= 31
            && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
            && text.bytes().all(rest);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(AuthorityNameError(text.chars().take(40).collect()))
        }
    }
}

impl fmt::Display for AuthorityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The CA keys that a target trusts: at least one, and several during a key rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedCaKeys(Vec<PublicKey>);

/// The error for a text that is not a list of CA keys; lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustedCaKeysError {
    /// A line is neither an Ed25519 public key nor a comment nor empty.
    #[error("line {line} is not an ssh-ed25519 public key: {why}")]
    NoKey {
        /// The line's number.
        line: usize,
        /// The reason.
        why: String,
    },
    /// The text contains no key.
    #[error("the file contains no key; `ephyr ca show` prints one")]
    Empty,
}

impl TrustedCaKeys {
    /// Parses public keys, one per line; skips empty lines and lines that begin with `#`.
    ///
    /// # Errors
    /// A line is not an Ed25519 public key, or there is no key.
    pub fn parse(text: &str) -> Result<Self, TrustedCaKeysError> {
        let mut keys: Vec<PublicKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (line, at) = (line.trim(), index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why| TrustedCaKeysError::NoKey { line: at, why };
            let key = PublicKey::from_openssh(line).map_err(|error| wrong(error.to_string()))?;
            if !matches!(key.key_data(), KeyData::Ed25519(_)) {
                return Err(wrong(format!("it is {}", key.algorithm())));
            }
            check_point(&key).map_err(|fault| wrong(fault.to_string()))?;
            if keys.iter().all(|known| known.key_data() != key.key_data()) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            Err(TrustedCaKeysError::Empty)
        } else {
            Ok(Self(keys))
        }
    }

    /// Returns the content of sshd's `TrustedUserCAKeys` file, without the keys' comments.
    pub(crate) fn lines(&self) -> String {
        let line = |key: &PublicKey| {
            let bare = PublicKey::from(key.key_data().clone());
            bare.to_openssh().unwrap_or_default() + "\n"
        };
        self.0.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLCAUUEqc3qksi4WO6zE3eR2BHZc/8F0KIJ/xvjmQH0";
    const OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICuSt2XKvy+boU6PblBI4iQ63QCvAl4L5i9K58Al1bSC";

    #[test]
    fn name_unsafe_for_a_sudoers_file_is_rejected() {
        for good in ["ephyr", "e", "site-2"] {
            assert!(good.parse::<AuthorityName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "Ephyr",
            "a.b",
            "a/b",
            "..",
            "-a",
            "2a",
            "a b",
            "a~",
            &"a".repeat(32),
        ] {
            assert!(bad.parse::<AuthorityName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_deduplicated_and_comments_dropped() {
        let text = format!("# old\n{KEY} the old one\n\n{OTHER}\n{KEY} again\n");
        assert_eq!(
            TrustedCaKeys::parse(&text).unwrap().lines(),
            format!("{KEY}\n{OTHER}\n")
        );
    }

    #[test]
    fn invalid_ca_key_is_reported_with_its_line() {
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBNuKw5Q90F31JtNP1UKXmtlr/OUo3ypx1LkkfGYAoIWH3yUqOmzO9QuqOvb52cs+92My0Q8YL0kOAQbfWTyIsx0=";
        let error = |text: &str| TrustedCaKeys::parse(text).unwrap_err().to_string();
        let weak =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(error(weak).contains("small order"), "{}", error(weak));
        for other in ["nonsense", ecdsa, weak, KEY.trim_start_matches("ssh-")] {
            let error = error(&format!("{KEY}\n{other}\n"));
            assert!(error.starts_with("line 2 is not an ssh-ed25519"), "{error}");
        }
        assert!(error("# nothing\n").contains("no key"));
    }
}
