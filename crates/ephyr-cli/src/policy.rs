//! `ephyr policy`: check, schema, hash.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use ephyr_policy::{Diagnostic, MAX_POLICY_BYTES, Severity, load, report, schema};
use serde_json::json;

use crate::args::Policy;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn run(policy: &Policy, output: &Output) -> Result<ExitCode, Failure> {
    match policy {
        Policy::Validate { file } => validate(file, output),
        Policy::Schema => {
            output.raw(schema().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Policy::Hash { file } => hash(file, output),
    }
}

fn validate(file: &Path, output: &Output) -> Result<ExitCode, Failure> {
    let source = read(file)?;
    let loaded = load(&source, &file.display().to_string());
    let (findings, hash): (&[Diagnostic], _) = match &loaded {
        Ok(policy) => (policy.warnings(), Some(policy.hash())),
        Err(diagnostics) => (diagnostics.as_slice(), None),
    };
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let value = json!({
        "file": file,
        "valid": hash.is_some(),
        "hash": hash,
        "errors": errors,
        "warnings": findings.len() - errors,
        "findings": findings,
    });
    output.show(&value, || {
        if findings.is_empty() {
            format!("{}: valid\n", file.display())
        } else {
            report(findings)
        }
    })?;
    Ok(match (hash, findings) {
        (None, _) => ExitCode::from(2),
        (Some(_), []) => ExitCode::SUCCESS,
        (Some(_), _) => ExitCode::from(1),
    })
}

fn hash(file: &Path, output: &Output) -> Result<ExitCode, Failure> {
    let hash = compiled(file)?.hash();
    output.show(&json!({"file": file, "hash": hash}), || hash.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// A policy without errors.
///
/// # Errors
/// The file cannot be read, or is wrong: all that is wrong, with its places.
pub(crate) fn compiled(file: &Path) -> Result<ephyr_policy::Policy, Failure> {
    let source = read(file)?;
    load(&source, &file.display().to_string())
        .map_err(|diagnostics| Failure::data(diagnostics.to_string()))
}

/// Reads a policy, one byte past the limit at most, so that the loader can say that it is too long.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut source = Vec::new();
    let most = u64::try_from(MAX_POLICY_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    fs::File::open(file)
        .and_then(|opened| opened.take(most).read_to_end(&mut source))
        .map_err(|error| Failure::unreadable(file, &error))?;
    Ok(source)
}
