//! The policy file.

use std::sync::LazyLock;

use ephyr_policy::{Agent, Diagnostic, Policy, Severity, load};
use serde_json::Value;

use crate::{Broken, ensure, must};

static SCHEMA: LazyLock<Option<jsonschema::Validator>> = LazyLock::new(|| {
    let schema = serde_json::from_str(&ephyr_policy::schema()).ok()?;
    jsonschema::validator_for(&schema).ok()
});

/// Findings about the file as a whole stand nowhere in it.
const OF_THE_WHOLE_FILE: [&str; 4] = ["E-TOO-BIG", "E-EMPTY", "E-TOO-MANY", "E-YAML-LIMIT"];

/// Any file is compiled or refused with at least one error; every error says where, within the file; and a
/// policy that is accepted is accepted by the editors' schema and means the same when it is written as JSON.
///
/// # Errors
/// How it is broken.
pub fn policy_yaml(input: &[u8]) -> Result<(), Broken> {
    let policy = match load(input, "policy.yaml") {
        Ok(policy) => policy,
        Err(refused) => return findings(input, refused.as_slice()),
    };
    let json = as_json(input).ok_or("what is accepted cannot be read by another reader")?;
    let schema = SCHEMA.as_ref().ok_or("the schema is no schema")?;
    if let Err(error) = schema.validate(&json) {
        return Err(format!(
            "accepted, but not by the schema: {error} at {}",
            error.instance_path()
        ));
    }
    let again = must(
        load(json.to_string().as_bytes(), "policy.json"),
        "accepted as YAML, refused as JSON",
    )?;
    ensure(meaning(&policy) == meaning(&again), || {
        "as JSON it means something else".to_owned()
    })
}

fn findings(input: &[u8], findings: &[Diagnostic]) -> Result<(), Broken> {
    let errors = findings.iter().filter(|d| d.severity == Severity::Error);
    ensure(errors.count() > 0, || "refused without an error".to_owned())?;
    // YAML ends a line with CR as well.
    let lines = 2 + input.iter().filter(|b| matches!(b, b'\n' | b'\r')).count();
    for finding in findings {
        let (line, column) = (finding.line as usize, finding.column as usize);
        let placed = (line > 0 && column > 0) || OF_THE_WHOLE_FILE.contains(&finding.code);
        ensure(placed, || format!("no place: {finding}"))?;
        ensure(line <= lines && column <= input.len() + 1, || {
            format!("not in the file: {finding}")
        })?;
        ensure(!finding.message.contains('\n'), || {
            format!("more than a line: {finding}")
        })?;
    }
    Ok(())
}

/// The file as JSON, with as little judgement as possible.
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

/// All that a policy says, but for where and in which bytes it is said.
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
