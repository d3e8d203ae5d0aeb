//! The CA key: loads it and signs certificates, delegations and checkpoints.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ephyr_chain::{Checkpoint, Fold};
use ephyr_names::Timestamp;
use ephyr_sandbox::read_regular_text;
use ephyr_token::sshsig::{self, Namespace};
use ephyr_token::{CaKeys, DelegationCertificate, DelegationPayload, MAX_CA_LIST};
use rustix::fs::{Mode, OFlags};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::{HashAlg, PrivateKey};
use zeroize::Zeroizing;

use crate::args::KeyFile;
use crate::derive::CertificateSpec;

/// Upper bound for an OpenSSH Ed25519 key file, in bytes.
const MAX_KEY_FILE: u64 = 16 * 1024;

/// The CA key. It does not implement `Debug`, and its memory is zeroed on drop.
pub struct CaKey {
    key: PrivateKey,
    public_line: String,
    fingerprint: String,
}

/// The CA key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the CA key {path}: {why}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        why: std::io::Error,
    },
    /// The path is not a regular file, or the file is too long.
    #[error("the CA key {0} is not a regular file of at most {MAX_KEY_FILE} bytes")]
    NotAFile(PathBuf),
    /// Another user owns the file.
    #[error(
        "the CA key {path} belongs to user {owner}, but this process runs as user {own}: chown it to the \
         signer's user, which must not be the broker's"
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// The file's owner.
        owner: u32,
        /// This process's effective user.
        own: u32,
    },
    /// Other users can read the file.
    #[error("the CA key {path} has mode {mode:04o}: others may read it; set it to 0600 or 0400")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The list of public keys cannot be read or used.
    #[error("cannot use the list of CA public keys {path}: {why}")]
    List {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: String,
    },
    /// The operator's list does not contain the key.
    #[error(
        "the CA key {fingerprint} is not listed in {path}: either it is the wrong key, or its public half \
         is missing there, and so probably on the targets"
    )]
    NotListed {
        /// The list.
        path: PathBuf,
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// The file does not contain an OpenSSH private key.
    #[error("the CA key {0} is not an OpenSSH private key")]
    Format(PathBuf),
    /// The key has a passphrase.
    #[error(
        "the CA key {0} has a passphrase: remove it with `ssh-keygen -p`, and pass the key as an encrypted \
         systemd credential (LoadCredentialEncrypted=)"
    )]
    Encrypted(PathBuf),
    /// The key uses another algorithm.
    #[error("the CA key {0} is not an Ed25519 key: create one with `ephyr ca init`")]
    Algorithm(PathBuf),
}

/// Signing failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the CA key cannot sign: {0}")]
pub struct SignError(String);

impl CaKey {
    /// Reads and checks the key file.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if a user other than the signer's and root could read the file, or it is not an
    /// unencrypted Ed25519 key.
    pub fn load(file: &KeyFile) -> Result<Self, KeyError> {
        let path = match file {
            KeyFile::Own(path) | KeyFile::Credential(path) => path.as_path(),
        };
        let text = read_private(path, matches!(file, KeyFile::Credential(_)))?;
        let key = PrivateKey::from_openssh(&*text).map_err(|_| KeyError::Format(path.into()))?;
        if key.is_encrypted() {
            return Err(KeyError::Encrypted(path.into()));
        }
        Self::new(key).ok_or_else(|| KeyError::Algorithm(path.into()))
    }

    /// Returns the CA with this key, or `None` unless it is an unencrypted Ed25519 key.
    #[must_use]
    pub fn new(mut key: PrivateKey) -> Option<Self> {
        key.key_data().ed25519()?;
        key.set_comment("ephyr-ca");
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let public_line = key.public_key().to_openssh().ok()?;
        Some(Self {
            key,
            public_line,
            fingerprint,
        })
    }

    /// Checks that the operator's list of CA public keys contains this key.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotListed`] if it does not; [`KeyError::List`] if the list cannot be read or parsed.
    pub fn check_listed(&self, path: &Path) -> Result<(), KeyError> {
        let bad = |why: String| KeyError::List {
            path: path.into(),
            why,
        };
        let text = read_regular_text(path, MAX_CA_LIST).map_err(|why| bad(why.to_string()))?;
        let listed = CaKeys::parse(&text).map_err(|why| bad(why.to_string()))?;
        match listed.find(self.key.public_key()) {
            Some(_) => Ok(()),
            None => Err(KeyError::NotListed {
                path: path.into(),
                fingerprint: self.fingerprint.clone(),
            }),
        }
    }

    /// Returns the public key as an OpenSSH line.
    #[must_use]
    pub fn public_line(&self) -> &str {
        &self.public_line
    }

    /// Returns the public key's SHA-256 fingerprint, as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Signs a certificate with these fields and returns its OpenSSH line.
    ///
    /// # Errors
    ///
    /// [`SignError`] if a field cannot be encoded.
    pub fn certify(&self, spec: &CertificateSpec, nonce: [u8; 32]) -> Result<String, SignError> {
        let seconds = |time: Timestamp| {
            u64::try_from(time.unix_seconds())
                .map_err(|_| SignError("the system clock is set before 1970".into()))
        };
        let (after, before) = (seconds(spec.valid_after)?, seconds(spec.valid_before)?);
        self.build(spec, nonce, after, before)
            .map_err(|why| SignError(why.to_string()))
    }

    fn build(
        &self,
        spec: &CertificateSpec,
        nonce: [u8; 32],
        after: u64,
        before: u64,
    ) -> ssh_key::Result<String> {
        let mut builder = Builder::new(nonce, spec.public_key, after, before)?;
        builder.serial(spec.serial.0)?;
        builder.cert_type(CertType::User)?;
        builder.key_id(spec.key_id.to_string())?;
        builder.valid_principal(spec.principal.to_string())?;
        if let Some(command) = &spec.force_command {
            builder.critical_option("force-command", command)?;
        }
        if let Some(networks) = &spec.source_address {
            builder.critical_option("source-address", networks)?;
        }
        for extension in &spec.extensions {
            builder.extension(*extension, "")?;
        }
        builder.sign(&self.key)?.to_openssh()
    }

    /// Signs a delegation certificate.
    ///
    /// # Errors
    ///
    /// [`SignError`] if its times are inconsistent.
    pub fn delegate(&self, payload: DelegationPayload) -> Result<DelegationCertificate, SignError> {
        DelegationCertificate::sign(payload, &self.key).map_err(|why| SignError(why.to_string()))
    }

    /// Signs the head of an audit log.
    ///
    /// # Errors
    ///
    /// [`SignError`] if signing fails, which it does not with an Ed25519 key.
    pub fn checkpoint(&self, fold: &Fold, time: Timestamp) -> Result<Checkpoint, SignError> {
        let message = Checkpoint::signed_bytes(fold.log(), fold.count(), fold.head(), time);
        let signature = sshsig::sign(&self.key, Namespace::Checkpoint, &message)
            .map_err(|why| SignError(why.to_string()))?;
        Ok(Checkpoint {
            log: fold.log(),
            count: fold.count(),
            head: fold.head(),
            time,
            signature,
        })
    }
}

/// Reads the key file, which only this process's user and root may be able to read.
fn read_private(path: &Path, credential: bool) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let io = |why: std::io::Error| KeyError::Io {
        path: path.into(),
        why,
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|why| io(why.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() || metadata.len() > MAX_KEY_FILE {
        return Err(KeyError::NotAFile(path.into()));
    }
    check_access(
        path,
        metadata.uid(),
        metadata.gid(),
        metadata.mode(),
        credential,
    )?;
    // Allocated at full size: growing the buffer would leave unzeroed copies in freed memory.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(metadata.len()).unwrap_or(0)]);
    (&file).read_exact(&mut bytes).map_err(io)?;
    Ok(bytes)
}

fn check_access(
    path: &Path,
    owner: u32,
    group: u32,
    mode: u32,
    credential: bool,
) -> Result<(), KeyError> {
    let own = rustix::process::geteuid().as_raw();
    // A systemd credential is owned by root and readable by the service through an ACL, whose mask appears as the
    // group permission bits.
    let by_systemd = credential && owner == 0 && group == 0;
    if owner != own && !by_systemd {
        return Err(KeyError::Owner {
            path: path.into(),
            owner,
            own,
        });
    }
    let forbidden = if by_systemd { 0o037 } else { 0o077 };
    if mode & forbidden != 0 {
        return Err(KeyError::Mode {
            path: path.into(),
            mode: mode & 0o7777,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_credential_may_be_owned_by_root_and_group_readable() {
        let own = rustix::process::geteuid().as_raw();
        let other = own.max(1) + 1;
        let allowed = |owner, group, mode, credential| {
            check_access(Path::new("k"), owner, group, mode, credential).is_ok()
        };
        for mode in [0o100_600, 0o100_400] {
            assert!(allowed(own, 0, mode, false) && allowed(own, other, mode, true));
            assert!(!allowed(other, 0, mode, false) && !allowed(other, 0, mode, true));
        }
        // As systemd creates it: owned by root, with the ACL mask in the group bits.
        assert!(allowed(0, 0, 0o100_440, true) && allowed(0, 0, 0o100_400, true));
        assert!(!allowed(0, 0, 0o100_440, false), "not a credential");
        assert!(
            !allowed(0, other, 0o100_440, true),
            "another group can read it"
        );
        for mode in [0o100_444, 0o100_460, 0o100_450, 0o100_442] {
            assert!(!allowed(0, 0, mode, true), "{mode:o}");
        }
        for mode in [0o100_640, 0o100_604, 0o100_620] {
            assert!(!allowed(own, 0, mode, false), "{mode:o}");
        }
    }
}
