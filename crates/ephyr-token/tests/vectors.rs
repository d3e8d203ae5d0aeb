//! The committed vectors, checked by the crate and by a verifier in Python.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use ephyr_names::Digest;
use ephyr_token::{Envelope, RootKey, TokenError, UnverifiedToken, explain};
use serde::Deserialize;

type Run<T> = Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    token: String,
    /// 32 bytes in hexadecimal, like a digest.
    root_key: Digest,
    valid: bool,
    envelope: Option<Envelope>,
    error: Option<String>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn vectors() -> Run<Vec<Vector>> {
    let read = |path: &Path| -> Run<Vector> {
        let vector: Vector = serde_json::from_slice(&std::fs::read(path)?)?;
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        assert_eq!(
            stem,
            Some(&vector.name[..]),
            "a vector must be named like its file"
        );
        Ok(vector)
    };
    std::fs::read_dir(directory())?
        .map(|entry| read(&entry?.path()))
        .collect()
}

fn outcome(vector: &Vector) -> Result<Envelope, TokenError> {
    let key = RootKey::from_bytes(vector.root_key.0);
    let token = UnverifiedToken::parse(&vector.token)?.verify(&key)?;
    Ok(token.envelope().clone())
}

#[test]
fn every_vector_has_its_stated_outcome() -> Run<()> {
    let mut wrong = Vec::new();
    for vector in vectors()? {
        let agrees = match outcome(&vector) {
            Ok(envelope) => vector.valid && Some(envelope) == vector.envelope,
            Err(error) => !vector.valid && Some(error.code()) == vector.error.as_deref(),
        };
        if !agrees {
            wrong.push(format!("{}: {:?}", vector.name, outcome(&vector)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_error_code_has_a_vector() -> Run<()> {
    let seen: Vec<String> = vectors()?
        .into_iter()
        .filter_map(|vector| vector.error)
        .collect();
    // `expired` is missing, because expiry depends on the caller's clock.
    for code in [
        "not_a_token",
        "too_long",
        "bad_base64",
        "bad_version",
        "truncated",
        "trailing_bytes",
        "bad_identifier",
        "bad_location",
        "bad_section_count",
        "bad_signature",
        "malformed_caveat",
        "misplaced_caveat",
        "wildcard_in_holder_section",
        "root_mismatch",
        "repeated_task",
        "too_deep",
        "no_expiry",
    ] {
        assert!(seen.iter().any(|one| one == code), "{code}");
    }
    Ok(())
}

#[test]
fn explain_needs_no_key_and_reports_faults_of_caveats() -> Run<()> {
    for vector in vectors()? {
        let Ok(explained) = explain(&vector.token) else {
            assert!(!vector.valid, "{}", vector.name);
            continue;
        };
        assert!(!explained.verified);
        let json = serde_json::to_value(&explained)?;
        assert_eq!(json["verified"], false);
        match vector.error.as_deref() {
            None => assert_eq!(explained.envelope, vector.envelope, "{}", vector.name),
            // Explaining does not check the signature.
            Some("bad_signature") => {}
            Some(_) => assert!(explained.refused.is_some(), "{}", vector.name),
        }
    }
    Ok(())
}

/// Checks the vectors with a verifier written from `docs/tokens.md` alone.
#[test]
fn python_verifier_agrees_on_every_vector() -> Run<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify_vectors.py");
    let output = match Command::new("python3")
        .arg("-I")
        .arg(script)
        .arg(directory())
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            println!("SKIP python vector check: python3 cannot be run ({error})");
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let expected = format!("{} vectors agree", vectors()?.len());
    assert_eq!(text.trim(), expected);
    Ok(())
}
