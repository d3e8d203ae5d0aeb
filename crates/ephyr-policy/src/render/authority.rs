//! Whose certificates a target accepts: an appliance's name there, and its CA's keys.

use std::fmt;
use std::str::FromStr;

use crate::format::check_point;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// The name of an appliance on its targets. It is part of file names that sshd and sudo read, so it is
/// a small letter and at most 30 more small letters, digits and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority(String);

/// A text that is no name of an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name for an authority: use a small letter, then at most 30 small letters, digits and `-`"
)]
pub struct AuthorityError(String);

impl Authority {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let good = text.len() <= 31
            && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
            && text.bytes().all(rest);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(AuthorityError(text.chars().take(40).collect()))
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public keys of a CA: at least one, and more while a key is replaced by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaKeys(Vec<PublicKey>);

/// Why a text holds no CA keys; lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaKeysError {
    /// A line is neither a key that an Ephyr signs with, a comment nor empty.
    #[error("line {line} is no ssh-ed25519 public key: {why}")]
    NoKey {
        /// The line.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// There is nothing but comments.
    #[error("there is no key in it; `ephyr ca show` prints one")]
    Empty,
}

impl CaKeys {
    /// Reads public keys, one a line; lines that begin with `#` and empty ones are passed over.
    ///
    /// # Errors
    /// A line is something else, a key is not Ed25519, or there is none.
    pub fn parse(text: &str) -> Result<Self, CaKeysError> {
        let mut keys: Vec<PublicKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (line, at) = (line.trim(), index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why| CaKeysError::NoKey { line: at, why };
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
            Err(CaKeysError::Empty)
        } else {
            Ok(Self(keys))
        }
    }

    /// The keys as sshd's `TrustedUserCAKeys` takes them: without comments, which may hold anything.
    pub(super) fn lines(&self) -> String {
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
    fn a_name_that_is_no_file_name_of_sudoers_is_refused() {
        for good in ["ephyr", "e", "site-2"] {
            assert!(good.parse::<Authority>().is_ok(), "{good}");
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
            assert!(bad.parse::<Authority>().is_err(), "{bad}");
        }
    }

    #[test]
    fn all_keys_are_kept_once_and_comments_are_not() {
        let text = format!("# old\n{KEY} the old one\n\n{OTHER}\n{KEY} again\n");
        assert_eq!(
            CaKeys::parse(&text).unwrap().lines(),
            format!("{KEY}\n{OTHER}\n")
        );
    }

    #[test]
    fn what_is_no_ca_key_is_told_by_its_line() {
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBNuKw5Q90F31JtNP1UKXmtlr/OUo3ypx1LkkfGYAoIWH3yUqOmzO9QuqOvb52cs+92My0Q8YL0kOAQbfWTyIsx0=";
        let told = |text: &str| CaKeys::parse(text).unwrap_err().to_string();
        let weak =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(told(weak).contains("small order"), "{}", told(weak));
        for other in ["nonsense", ecdsa, weak, KEY.trim_start_matches("ssh-")] {
            let told = told(&format!("{KEY}\n{other}\n"));
            assert!(told.starts_with("line 2 is no ssh-ed25519"), "{told}");
        }
        assert!(told("# nothing\n").contains("no key"));
    }
}
