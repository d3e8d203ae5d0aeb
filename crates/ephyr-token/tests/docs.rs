//! The examples and lists of `docs/tokens.md`.

#[cfg(test)]
mod support;

use std::error::Error;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyr_names::{Digest, Timestamp};
use ephyr_token::{Proof, ProofRequest, proof};
use sha2::{Digest as _, Sha256};
use support::{holder, open, root};

const PAGE: &str = include_str!("../../../docs/tokens.md");

#[test]
fn python_example_produces_a_valid_proof() -> Result<(), Box<dyn Error>> {
    let has_cryptography = Command::new("python3")
        .args(["-c", "import cryptography"])
        .output();
    if !has_cryptography.is_ok_and(|output| output.status.success()) {
        println!("SKIP python proof example: python3 with the cryptography package is needed");
        return Ok(());
    }
    let code = PAGE
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let code = code.ok_or("the page has a Python example")?;
    let token = root(open());
    let driver = format!(
        "{code}\nfrom cryptography.hazmat.primitives.asymmetric import ed25519\n\
         key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))\n\
         print(ephyr_proof(key, {:?}, 'POST', '/mcp?x=1', b'{{}}'))\n",
        token.as_text()
    );
    let output = Command::new("python3").args(["-c", &driver]).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let header = String::from_utf8(output.stdout)?;
    let header = header.trim();
    // The broker's clock is set to the proof's time, so the test does not depend on the real clock.
    let time = i64::from_be_bytes(URL_SAFE_NO_PAD.decode(header)?[1..9].try_into()?);
    let now = Timestamp::from_unix_millis(time);
    let request = ProofRequest {
        method: "POST",
        path: "/mcp?x=1",
        body: Digest(Sha256::digest(b"{}").into()),
        token: token.digest(),
    };
    let proof = Proof::parse(header)?;
    assert_eq!(
        proof.check(&holder(1), &request, now, proof::SKEW)?.time,
        now
    );
    assert!(proof.check(&holder(2), &request, now, proof::SKEW).is_err());
    Ok(())
}

#[test]
fn page_lists_every_code_and_caveat() {
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
        "expired",
        "task =",
        "agent =",
        "holder =",
        "initiated_by =",
        "ssh IN",
        "http IN",
        "mcp IN",
        "target IN",
        "role IN",
        "service IN",
        "method IN",
        "remote IN",
        "expires_before =",
        "can_delegate =",
        "delegation_depth <=",
        "ephyr-delegation",
        "ephyr-checkpoint",
        "ephyr-krl",
        "ephyr-approval",
    ] {
        assert!(PAGE.contains(&format!("`{code}")), "{code}");
    }
}
