//! A certificate authority that, like the signer, issues certificates sealed to a command.

use std::time::{SystemTime, UNIX_EPOCH};

use ephyr_policy::sealed_command;
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{PrivateKey, PublicKey};

/// The principal of the lab's role `op` on its target `web`.
pub(crate) const PRINCIPAL: &str = "web/op";

pub(crate) struct Ca(PrivateKey);

/// The variable fields of a certificate.
pub(crate) struct Spec {
    pub(crate) principal: &'static str,
    /// Start and end of the validity, in seconds from now.
    pub(crate) valid: (i64, i64),
    /// Seals the plain command, without the watcher.
    pub(crate) bare: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            principal: PRINCIPAL,
            valid: (-30, 60),
            bare: false,
        }
    }
}

impl Ca {
    pub(crate) fn new(seed: u8) -> Self {
        Self(key(seed))
    }

    pub(crate) fn public(&self) -> String {
        self.0.public_key().to_openssh().unwrap()
    }

    pub(crate) fn certify(&self, public: &str, command: &str, spec: &Spec) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at = |offset: i64| now.as_secs().checked_add_signed(offset).unwrap();
        let public = PublicKey::from_openssh(public).unwrap();
        let (from, to) = (at(spec.valid.0), at(spec.valid.1));
        let mut builder = Builder::new([7; 32], public.key_data().clone(), from, to).unwrap();
        let sealed = if spec.bare {
            command.to_owned()
        } else {
            sealed_command(command)
        };
        builder.serial(1).unwrap();
        builder.key_id("ephyr:lab").unwrap();
        builder.cert_type(CertType::User).unwrap();
        builder.valid_principal(spec.principal).unwrap();
        builder.critical_option("force-command", sealed).unwrap();
        builder.sign(&self.0).unwrap().to_openssh().unwrap()
    }
}

/// Returns a deterministic Ed25519 key.
pub(crate) fn key(seed: u8) -> PrivateKey {
    PrivateKey::new(
        KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32])),
        "lab",
    )
    .unwrap()
}
