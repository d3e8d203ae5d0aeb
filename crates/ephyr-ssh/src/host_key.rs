//! Host keys: the algorithms to offer, and the check against the pinned key.

use ephyr_names::TargetName;
use ephyr_policy::HostKey;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

use crate::error::SshError;

/// The host key that a server presented and proved to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeySeen {
    /// The fingerprint, `SHA256:…`.
    pub fingerprint: String,
    /// Whether the policy pins it. `false` only without `global.host_key_strict`; the audit records it.
    pub pinned: bool,
}

/// The supported host key algorithms, in order of preference. RSA is excluded: the crate that verifies its
/// signatures has a known timing flaw.
const SUPPORTED: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
];

/// Returns the algorithm lists to offer, one per connection attempt. A server with several keys presents the
/// first one on the list that it has, so pinned algorithms come first. A fingerprint does not tell its
/// algorithm, so each is then tried alone.
///
/// # Errors
/// [`SshError::HostKeyUnsupported`] when no pinned key has a supported algorithm.
pub(crate) fn offers(
    target: &TargetName,
    pinned: &HostKey,
) -> Result<Vec<Vec<Algorithm>>, SshError> {
    match pinned {
        HostKey::Keys(keys) => {
            let is_pinned =
                |algorithm: &Algorithm| keys.iter().any(|key| key.algorithm() == *algorithm);
            let (mut offer, rest): (Vec<_>, Vec<_>) = SUPPORTED.into_iter().partition(is_pinned);
            if offer.is_empty() {
                let algorithm = keys
                    .first()
                    .map_or_else(String::new, |key| key.algorithm().as_str().to_owned());
                return Err(SshError::HostKeyUnsupported {
                    target: target.clone(),
                    algorithm,
                });
            }
            // The others are offered too, so that the error can name a changed key.
            offer.extend(rest);
            Ok(vec![offer])
        }
        HostKey::Fingerprint(_) => {
            let alone = SUPPORTED.into_iter().map(|algorithm| vec![algorithm]);
            Ok(std::iter::once(SUPPORTED.to_vec()).chain(alone).collect())
        }
        HostKey::Unpinned => Ok(vec![SUPPORTED.to_vec()]),
    }
}

/// Checks the presented key against the pinned one.
///
/// # Errors
/// [`SshError::HostKeyUnsupported`] for a weak key, even if it is pinned; [`SshError::HostKeyChanged`];
/// [`SshError::HostKeyUnpinned`] when nothing is pinned and `strict` is set.
pub(crate) fn check(
    target: &TargetName,
    pinned: &HostKey,
    strict: bool,
    presented: &PublicKey,
) -> Result<HostKeySeen, SshError> {
    // A pinned fingerprint may be that of a weak key: only the presented key shows that.
    if let Err(fault) = ephyr_policy::check_point(presented) {
        return Err(SshError::HostKeyUnsupported {
            target: target.clone(),
            algorithm: format!("ssh-ed25519, as presented ({fault}),"),
        });
    }
    let fingerprint = presented.fingerprint(HashAlg::Sha256).to_string();
    if matches!(pinned, HostKey::Unpinned) {
        if strict {
            return Err(SshError::HostKeyUnpinned {
                target: target.clone(),
                seen: fingerprint,
            });
        }
        return Ok(HostKeySeen {
            fingerprint,
            pinned: false,
        });
    }
    if !pinned.accepts(presented) {
        return Err(SshError::HostKeyChanged {
            target: target.clone(),
            expected: expected(pinned),
            seen: fingerprint,
        });
    }
    Ok(HostKeySeen {
        fingerprint,
        pinned: true,
    })
}

/// Returns the pinned fingerprints.
fn expected(pinned: &HostKey) -> Vec<String> {
    match pinned {
        HostKey::Keys(keys) => keys
            .iter()
            .map(|key| key.fingerprint(HashAlg::Sha256).to_string())
            .collect(),
        HostKey::Fingerprint(fingerprint) => vec![fingerprint.to_string()],
        HostKey::Unpinned => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    const OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP/+/fz7+vn49/b19PPy8fDv7u3s6+rp6Ofm5eTj4uHg";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn target() -> TargetName {
        "web".parse().unwrap()
    }

    fn checked(pinned: &HostKey, strict: bool, presented: &str) -> Result<HostKeySeen, SshError> {
        check(&target(), pinned, strict, &key(presented))
    }

    #[test]
    fn changed_key_is_refused_with_both_fingerprints() {
        let pinned = HostKey::Keys(vec![key(ED25519)]);
        assert!(checked(&pinned, true, ED25519).unwrap().pinned);
        let error = checked(&pinned, true, OTHER).unwrap_err();
        let (right, wrong) = (key(ED25519), key(OTHER));
        assert_eq!(
            error,
            SshError::HostKeyChanged {
                target: target(),
                expected: vec![right.fingerprint(HashAlg::Sha256).to_string()],
                seen: wrong.fingerprint(HashAlg::Sha256).to_string(),
            }
        );
        assert_eq!(error.to_string().matches("SHA256:").count(), 2);
    }

    #[test]
    fn pinned_fingerprint_is_checked_like_a_pinned_key() {
        let pinned = HostKey::Fingerprint(key(ED25519).fingerprint(HashAlg::Sha256));
        assert!(checked(&pinned, true, ED25519).unwrap().pinned);
        assert!(checked(&pinned, true, OTHER).is_err());
        assert!(checked(&pinned, false, OTHER).is_err());
    }

    #[test]
    fn unpinned_key_is_accepted_only_without_strict_host_keys() {
        let refused = checked(&HostKey::Unpinned, true, ED25519).unwrap_err();
        assert_eq!(refused.code(), "host_key_unpinned");
        let seen = checked(&HostKey::Unpinned, false, ED25519).unwrap();
        assert!(!seen.pinned);
        assert!(seen.fingerprint.starts_with("SHA256:"));
    }

    #[test]
    fn key_of_small_order_is_refused_even_if_pinned() {
        let weak =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for pinned in [
            HostKey::Keys(vec![key(weak)]),
            HostKey::Fingerprint(key(weak).fingerprint(HashAlg::Sha256)),
            HostKey::Unpinned,
        ] {
            let refused = checked(&pinned, false, weak).unwrap_err();
            assert_eq!(refused.code(), "host_key_unsupported");
            assert!(refused.to_string().contains("small order"), "{refused}");
        }
        let pinned = HostKey::Fingerprint(key(ED25519).fingerprint(HashAlg::Sha256));
        assert!(checked(&pinned, false, ED25519).unwrap().pinned);
    }

    #[test]
    fn pinned_algorithm_is_offered_first() {
        let p256 = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH\
                    +Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
        let offers = offers(&target(), &HostKey::Keys(vec![key(p256)])).unwrap();
        assert_eq!(offers.len(), 1);
        assert_eq!(offers[0][0].as_str(), "ecdsa-sha2-nistp256");
        assert_eq!(offers[0].len(), SUPPORTED.len());
    }
}
