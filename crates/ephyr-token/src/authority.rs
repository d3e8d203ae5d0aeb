//! The list of CA public keys that operators configure.

use ssh_key::PublicKey;

use crate::point::{PointFault, usable_point};

/// Maximum length of a list in bytes. Readers of a file can stop after it.
pub const MAX_CA_LIST: usize = 64 * 1024;

/// The accepted CA public keys: one, or two during a key rotation. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaKeys(Vec<PublicKey>);

/// Why a text is not a list of CA keys. The operator is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaKeysError {
    /// It contains no key.
    #[error("it contains no CA public key; `ephyr ca show` prints the public key of a key file")]
    Empty,
    /// A line is not a key.
    #[error("line {0} is not an OpenSSH public key")]
    Format(usize),
    /// A key is not Ed25519.
    #[error("line {0} is not an Ed25519 key: make one with `ephyr ca init`")]
    Algorithm(usize),
    /// A key is unusable.
    #[error("line {0} is not a usable Ed25519 key: {1}; make one with `ephyr ca init`")]
    Point(usize, PointFault),
    /// Longer than [`MAX_CA_LIST`].
    #[error("it is longer than {MAX_CA_LIST} bytes")]
    TooLong,
}

impl CaKeys {
    /// Parses one key per line, like `TrustedUserCAKeys` (sshd_config(5)); empty lines and lines that begin
    /// with `#` are ignored.
    ///
    /// # Errors
    ///
    /// [`CaKeysError`] names the line.
    pub fn parse(text: &str) -> Result<Self, CaKeysError> {
        if text.len() > MAX_CA_LIST {
            return Err(CaKeysError::TooLong);
        }
        let lines = text.lines().map(str::trim).enumerate();
        let keys = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(index, line)| {
                let key =
                    PublicKey::from_openssh(line).map_err(|_| CaKeysError::Format(index + 1))?;
                let point = key
                    .key_data()
                    .ed25519()
                    .ok_or(CaKeysError::Algorithm(index + 1))?;
                usable_point(&point.0).map_err(|fault| CaKeysError::Point(index + 1, fault))?;
                Ok(key)
            });
        let keys: Vec<PublicKey> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(CaKeysError::Empty);
        }
        Ok(Self(keys))
    }

    /// Returns the listed key that equals `key`, ignoring comments.
    #[must_use]
    pub fn find(&self, key: &PublicKey) -> Option<&PublicKey> {
        self.0
            .iter()
            .find(|listed| listed.key_data() == key.key_data())
    }

    /// Returns the keys in file order.
    #[must_use]
    pub fn as_slice(&self) -> &[PublicKey] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBFb0pR5mR0UgbYKcqoUIkxBSF1sNaC/hxrFKJ9XBTHE one";
    const TWO: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDvXgYTLmHTbmVUfYW58bPtT6NpPYvrf0S6VbT8xRmFn";

    const WEAK: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDmI2hqyLzbYy/OSN79cF1alrkI7IYeDyd5ot3uClF/CsZ+m/9E/8F\
        SoSyMr/MBl70LT0Y1KLoGbqv1VNLPwhmkE/bRGAy34erCklX6lnYqLGZwiT0g4Izy+i9XopLnOokSjlev46demU5JXPkjJzEnymcXrASg1HnM0\
        jmrsriAJw==";

    fn key(line: &str) -> PublicKey {
        PublicKey::from_openssh(line).unwrap()
    }

    #[test]
    fn list_has_one_key_per_line_and_allows_comments() {
        let keys = CaKeys::parse(&format!("# ours\n\n  {ONE}\n{TWO}\n")).unwrap();
        assert_eq!(keys.as_slice().len(), 2);
        assert!(keys.find(&key(TWO)).is_some());
        let mut renamed = key(ONE);
        renamed.set_comment("another");
        assert!(keys.find(&renamed).is_some());
        assert!(CaKeys::parse(ONE).unwrap().find(&key(TWO)).is_none());
    }

    #[test]
    fn list_errors_name_the_line() {
        let options = format!("cert-authority {ONE}");
        for (text, error) in [
            (String::new(), CaKeysError::Empty),
            ("# none\n\n".into(), CaKeysError::Empty),
            (format!("{ONE}\nnonsense"), CaKeysError::Format(2)),
            (format!("{ONE}\n{RSA}"), CaKeysError::Algorithm(2)),
            (options, CaKeysError::Format(1)),
            (
                format!("{ONE}\n{WEAK}"),
                CaKeysError::Point(2, PointFault::SmallOrder),
            ),
            ("#".repeat(MAX_CA_LIST + 1), CaKeysError::TooLong),
        ] {
            assert_eq!(CaKeys::parse(&text), Err(error), "{}", text.len());
        }
    }
}
