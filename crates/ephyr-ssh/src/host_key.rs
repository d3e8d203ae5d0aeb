//! Host keys: which kinds are asked for, and whether the one that a server shows is the pinned one.

use ephyr_names::TargetName;
use ephyr_policy::HostKey;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

use crate::error::SshError;

/// The host key that a server showed and proved to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeySeen {
    /// Its fingerprint, `SHA256:…`.
    pub fingerprint: String,
    /// Whether the policy pins it. `false` only where host keys are not strict; the audit says so then.
    pub pinned: bool,
}

/// The kinds of host key that are spoken here, the best first. RSA is not among them: its signatures are
/// verified by a crate with a known timing flaw.
const SPOKEN: [Algorithm; 4] = [
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

/// The lists of kinds to ask for, one per attempt. A server with several keys shows the first kind that
/// both know, so the pinned kinds go first; which kind a fingerprint belongs to is not known before.
///
/// # Errors
/// [`SshError::HostKeyUnsupported`] when no pinned key is of a kind that is spoken here.
pub(crate) fn offers(
    target: &TargetName,
    pinned: &HostKey,
) -> Result<Vec<Vec<Algorithm>>, SshError> {
    match pinned {
        HostKey::Keys(keys) => {
            let is_pinned = |kind: &Algorithm| keys.iter().any(|key| key.algorithm() == *kind);
            let (mut offer, rest): (Vec<_>, Vec<_>) = SPOKEN.into_iter().partition(is_pinned);
            if offer.is_empty() {
                let algorithm = keys
                    .first()
                    .map_or_else(String::new, |key| key.algorithm().as_str().to_owned());
                return Err(SshError::HostKeyUnsupported {
                    target: target.clone(),
                    algorithm,
                });
            }
            // The others are asked for, too, so that a changed key can be named.
            offer.extend(rest);
            Ok(vec![offer])
        }
        HostKey::Fingerprint(_) => {
            let alone = SPOKEN.into_iter().map(|kind| vec![kind]);
            Ok(std::iter::once(SPOKEN.to_vec()).chain(alone).collect())
        }
        HostKey::Unpinned => Ok(vec![SPOKEN.to_vec()]),
    }
}

/// Whether this key is the one that the policy pins.
///
/// # Errors
/// [`SshError::HostKeyUnsupported`] for an unusable key, whatever is pinned; [`SshError::HostKeyChanged`];
/// [`SshError::HostKeyUnpinned`] where nothing is pinned and `strict` is set.
pub(crate) fn check(
    target: &TargetName,
    pinned: &HostKey,
    strict: bool,
    shown: &PublicKey,
) -> Result<HostKeySeen, SshError> {
    // A fingerprint may come from an unverified first connection, so the key itself is checked too.
    if let Err(fault) = ephyr_policy::check_point(shown) {
        return Err(SshError::HostKeyUnsupported {
            target: target.clone(),
            algorithm: format!("ssh-ed25519 as shown ({fault})"),
        });
    }
    let fingerprint = shown.fingerprint(HashAlg::Sha256).to_string();
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
    if !pinned.accepts(shown) {
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

/// The pinned fingerprints.
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

    fn checked(pinned: &HostKey, strict: bool, shown: &str) -> Result<HostKeySeen, SshError> {
        check(&target(), pinned, strict, &key(shown))
    }

    #[test]
    fn a_pinned_key_is_accepted_and_any_other_named_with_both_fingerprints() {
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
    fn a_pinned_fingerprint_counts_as_much_as_the_key() {
        let pinned = HostKey::Fingerprint(key(ED25519).fingerprint(HashAlg::Sha256));
        assert!(checked(&pinned, true, ED25519).unwrap().pinned);
        assert!(checked(&pinned, true, OTHER).is_err());
        assert!(checked(&pinned, false, OTHER).is_err());
    }

    #[test]
    fn an_unpinned_key_is_refused_unless_host_keys_are_not_strict() {
        let refused = checked(&HostKey::Unpinned, true, ED25519).unwrap_err();
        assert_eq!(refused.code(), "host_key_unpinned");
        let seen = checked(&HostKey::Unpinned, false, ED25519).unwrap();
        assert!(!seen.pinned);
        assert!(seen.fingerprint.starts_with("SHA256:"));
    }

    #[test]
    fn a_shown_key_of_small_order_is_refused_whatever_is_pinned() {
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
    fn the_pinned_kind_is_asked_for_first() {
        let p256 = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH\
                    +Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
        let offers = offers(&target(), &HostKey::Keys(vec![key(p256)])).unwrap();
        assert_eq!(offers.len(), 1);
        assert_eq!(offers[0][0].as_str(), "ecdsa-sha2-nistp256");
        assert_eq!(offers[0].len(), SPOKEN.len());
    }
}
