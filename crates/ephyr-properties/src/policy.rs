//! The policy compiler.

use std::sync::LazyLock;

use ephyr_policy::{Agent, Diagnostic, Policy, Severity, load};
use serde_json::Value;

use crate::{Violation, ensure, expect_ok};

static SCHEMA: LazyLock<Option<jsonschema::Validator>> = LazyLock::new(|| {
    let schema = serde_json::from_str(&ephyr_policy::schema()).ok()?;
    jsonschema::validator_for(&schema).ok()
});

/// The codes of findings about the whole file, which have no position.
const OF_THE_WHOLE_FILE: [&str; 4] = ["E-TOO-BIG", "E-EMPTY", "E-TOO-MANY", "E-YAML-LIMIT"];

/// Checks that a file is compiled or refused with at least one error, that every finding has a position within
/// the file, and that an accepted policy conforms to the JSON schema and has the same meaning as JSON.
///
/// # Errors
/// The violation.
pub fn policy_yaml(input: &[u8]) -> Result<(), Violation> {
    let policy = match load(input, "policy.yaml") {
        Ok(policy) => policy,
        Err(refused) => return findings(input, refused.as_slice()),
    };
    let json = as_json(input).ok_or("an accepted policy is not readable as plain YAML")?;
    let schema = SCHEMA.as_ref().ok_or("the JSON schema is invalid")?;
    if let Err(error) = schema.validate(&json) {
        return Err(format!(
            "accepted, but violates the schema: {error} at {}",
            error.instance_path()
        ));
    }
    let again = expect_ok(
        load(json.to_string().as_bytes(), "policy.json"),
        "accepted as YAML, but refused as JSON",
    )?;
    ensure(meaning(&policy) == meaning(&again), || {
        "the policy has another meaning as JSON".to_owned()
    })
}

fn findings(input: &[u8], findings: &[Diagnostic]) -> Result<(), Violation> {
    let errors = findings.iter().filter(|d| d.severity == Severity::Error);
    ensure(errors.count() > 0, || "refused without an error".to_owned())?;
    // CR ends a line in YAML, too.
    let lines = 2 + input.iter().filter(|b| matches!(b, b'\n' | b'\r')).count();
    for finding in findings {
        let (line, column) = (finding.line as usize, finding.column as usize);
        let placed = (line > 0 && column > 0) || OF_THE_WHOLE_FILE.contains(&finding.code);
        ensure(placed, || format!("the finding has no position: {finding}"))?;
        ensure(line <= lines && column <= input.len() + 1, || {
            format!("the finding is outside the file: {finding}")
        })?;
        ensure(!finding.message.contains('\n'), || {
            format!("the message has several lines: {finding}")
        })?;
    }
    Ok(())
}

/// Converts the file to JSON with a generic YAML parser.
fn as_json(input: &[u8]) -> Option<Value> {
    let options = serde_yaml::options! {
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::Error,
        merge_keys: serde_yaml::MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_yaml::from_slice_with_options(input, options).ok()
}

/// Formats everything in a policy except source positions and digest.
fn meaning(policy: &Policy) -> String {
    let agents: Vec<_> = policy.agents().map(agent).collect();
    let roles: Vec<_> = policy.roles().collect();
    let targets: Vec<_> = policy.targets().collect();
    let services: Vec<_> = policy.services().collect();
    let remotes: Vec<_> = policy.remotes().collect();
    let warnings: Vec<_> = policy
        .warnings()
        .iter()
        .map(|w| (w.code, &w.path))
        .collect();
    let mut warnings: Vec<_> = warnings.iter().map(|w| format!("{w:?}")).collect();
    warnings.sort_unstable();
    let admins: Vec<_> = policy.admins().collect();
    format!(
        "{:?} {agents:?} {roles:?} {targets:?} {services:?} {remotes:?} {:?} {admins:?} {:?} {:?} {warnings:?}",
        policy.global(),
        policy.network(),
        policy.signer(),
        policy.sandbox(),
    )
}

fn agent(agent: &Agent) -> String {
    format!(
        "{:?}",
        (
            (&agent.name, agent.uid, &agent.api_key, &agent.description),
            (agent.max_concurrent_certs, &agent.ssh, &agent.services),
            (&agent.remotes, agent.dashboard, agent.require_pop),
            (agent.delegated_only, &agent.accept_delegation_from),
            &agent.egress,
        )
    )
}
