//! `ephyr ca`: creates and shows the certificate authority's key. Creation works on any host.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use ephyr_sandbox::read_regular_text;
use serde_json::json;
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::args::Ca;
use crate::failure::{CANNOT_CREATE, Failure};
use crate::output::Output;

/// The limit for the length of a key file.
pub(crate) const MAX_KEY_FILE: usize = 64 * 1024;

pub(crate) fn run(ca: &Ca, output: &Output) -> Result<ExitCode, Failure> {
    match ca {
        Ca::Init { out, comment } => {
            let key = generate(comment)?;
            write_new(out, &key)?;
            let path = out.display();
            show(
                key.public_key(),
                output,
                &format!("wrote the private key to {path} (mode 0600)\n"),
            )
        }
        Ca::Show { file } => show(&public_key(file)?, output, ""),
    }
}

fn generate(comment: &str) -> Result<PrivateKey, Failure> {
    if comment.chars().any(char::is_control) {
        return Err(Failure::usage("the comment must be one line"));
    }
    let failed = |error: String| {
        Failure::new(
            CANNOT_CREATE,
            "no_key",
            format!("the key cannot be generated: {error}"),
        )
    };
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut seed[..]).map_err(|error| failed(error.to_string()))?;
    let pair = Ed25519Keypair::from_seed(&seed);
    PrivateKey::new(KeypairData::from(pair), comment).map_err(|error| failed(error.to_string()))
}

/// Writes the key to a new file, which has mode 0600 from its creation on.
fn write_new(path: &Path, key: &PrivateKey) -> Result<(), Failure> {
    let failed = |error: &io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "; a CA key is never replaced: move the old one away first"
            }
            io::ErrorKind::NotFound => "; create its directory first",
            _ => "",
        };
        let text = format!("{} cannot be created: {error}{advice}", path.display());
        Failure::new(CANNOT_CREATE, "cannot_create", text)
    };
    let text = key.to_openssh(LineEnding::LF).map_err(Failure::protocol)?;
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed(&error))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        // An incomplete key is useless, and would block the next attempt.
        let _ = fs::remove_file(path);
        failed(&error)
    })
}

fn show(key: &PublicKey, output: &Output, note: &str) -> Result<ExitCode, Failure> {
    let line = key.to_openssh().map_err(Failure::protocol)?;
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    let value = json!({"public_key": line, "fingerprint": fingerprint});
    output.show(&value, || format!("{line}\n"))?;
    if !output.is_json() {
        // Only the key goes to standard output, so that it can be redirected to a file.
        let _ = writeln!(io::stderr(), "{note}fingerprint: {fingerprint}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a key file.
pub(crate) fn read_key_file(path: &Path) -> Result<String, Failure> {
    read_regular_text(path, MAX_KEY_FILE).map_err(|error| Failure::unreadable(path, &error))
}

/// Returns the public key in a file: the first key of a public key file, or that of a private key.
pub(crate) fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    let text = read_key_file(path)?;
    let bad = |error: ssh_key::Error| {
        Failure::data(format!("{} is not an OpenSSH key: {error}", path.display()))
    };
    let key = if text.trim_start().starts_with("-----BEGIN") {
        PrivateKey::from_openssh(&text).map(|key| key.public_key().clone())
    } else {
        let is_key = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let line = text.lines().map(str::trim).find(is_key).unwrap_or_default();
        PublicKey::from_openssh(line)
    }
    .map_err(bad)?;
    if key.algorithm().is_ed25519() {
        ephyr_policy::check_point(&key).map_err(|fault| {
            let path = path.display();
            Failure::data(format!(
                "{path} has an unusable ssh-ed25519 key: {fault}; create one with `ephyr ca init`"
            ))
        })?;
        return Ok(key);
    }
    let (path, kind) = (path.display(), key.algorithm());
    Err(Failure::data(format!(
        "{path} contains an {kind} key; a CA key must be ssh-ed25519: create one with `ephyr ca init`"
    )))
}

/// Reads text from standard input, up to the length of a key file.
pub(crate) fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin()
        .take(u64::try_from(MAX_KEY_FILE).unwrap_or(u64::MAX))
        .read_to_string(&mut text)
        .map_err(|error| Failure::unreadable("standard input".as_ref(), &error))?;
    Ok(text)
}
