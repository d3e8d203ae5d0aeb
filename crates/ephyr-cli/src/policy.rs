//! `ephyr policy`: validates, builds and hashes policies, and prints their schema.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::ExitCode;

use ephyr_names::TargetName;
use ephyr_policy::{
    Diagnostic, MAX_POLICY_BYTES, Severity, UnknownProgram, load, report, schema, unknown_programs,
};
use ephyr_render::{NftTable, target_host};
use serde_json::json;

use crate::args::{Build, Policy};
use crate::directory::NewDirectory;
use crate::failure::Failure;
use crate::output::Output;
use crate::policy_file::{compiled, read};
use crate::target::{ca_keys, document};

pub(crate) fn run(policy: &Policy, output: &Output) -> Result<ExitCode, Failure> {
    match policy {
        Policy::Validate { file, verbose } => validate(file, *verbose, output),
        Policy::Build(args) => build(args, output),
        Policy::Schema => {
            output.raw(schema().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Policy::Hash { file } => hash(file, output),
    }
}

fn validate(file: &Path, verbose: bool, output: &Output) -> Result<ExitCode, Failure> {
    let (source, file) = if file == Path::new("-") {
        (standard_input()?, "standard input".as_ref())
    } else {
        (read(file)?, file)
    };
    let loaded = load(&source, &file.display().to_string());
    let (findings, hash): (&[Diagnostic], _) = match &loaded {
        Ok(policy) => (policy.warnings(), Some(policy.hash())),
        Err(diagnostics) => (diagnostics.as_slice(), None),
    };
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let unknown = match &loaded {
        Ok(policy) if verbose => unknown_programs(policy),
        _ => Vec::new(),
    };
    let mut value = json!({
        "file": file,
        "valid": hash.is_some(),
        "hash": hash,
        "errors": errors,
        "warnings": findings.len() - errors,
        "findings": findings,
    });
    if verbose {
        let programs = unknown
            .iter()
            .map(|unknown| json!({"path": unknown.path, "program": unknown.program}));
        value["unknown_programs"] = programs.collect();
    }
    output.show(&value, || {
        let mut text = if findings.is_empty() {
            format!("{}: valid\n", file.display())
        } else {
            report(findings)
        };
        for UnknownProgram { path, program } in &unknown {
            let file = file.display();
            text += &format!(
                "{file}: unknown program at {path}: `{program}` is not in the table of programs; check what it can do \
                 with the arguments that the pattern leaves open\n"
            );
        }
        text
    })?;
    Ok(match (hash, findings) {
        (None, _) => ExitCode::from(2),
        (Some(_), []) => ExitCode::SUCCESS,
        (Some(_), _) => ExitCode::from(1),
    })
}

/// Writes the policy and all files that are built from it; nothing if the policy has errors. Findings go to standard
/// error, like those of a compiler.
fn build(build: &Build, output: &Output) -> Result<ExitCode, Failure> {
    let source = read(&build.file)?;
    let policy = match load(&source, &build.file.display().to_string()) {
        Ok(policy) => policy,
        Err(diagnostics) => {
            let findings = diagnostics.as_slice();
            let value = json!({"file": build.file, "valid": false, "findings": findings});
            output.show_on_stderr(&value, || report(findings));
            return Ok(ExitCode::from(2));
        }
    };
    let targets = write_compiled(build, &source, &policy)?;
    let (hash, warnings) = (policy.hash(), policy.warnings());
    let value = json!({
        "file": build.file, "valid": true, "hash": hash, "out": build.out, "targets": targets,
        "findings": warnings,
    });
    output.show(&value, || {
        let (out, targets) = (build.out.display(), count(targets.len()));
        format!("{out}: policy {hash}, {targets}\n")
    })?;
    if warnings.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !output.is_json() {
        output.show_on_stderr(&value, || report(warnings));
    }
    Ok(ExitCode::from(1))
}

/// Writes the output directory and returns its targets.
fn write_compiled(
    build: &Build,
    source: &[u8],
    policy: &ephyr_policy::Policy,
) -> Result<Vec<TargetName>, Failure> {
    let keys = build.ca_pub.as_deref().map(ca_keys).transpose()?;
    let directory = NewDirectory::begin(&build.out)?;
    directory.write("policy.yaml", 0o644, source)?;
    let table = NftTable::new(policy, build.mcp_listen);
    directory.write("nft/ephyr.nft", 0o644, table.ruleset().as_bytes())?;
    directory.create_dir("targets")?;
    let mut targets = Vec::new();
    let hosts = policy
        .targets()
        .filter_map(|target| target_host(policy, &target.name, &build.authority, keys.as_ref()));
    for host in hosts {
        let path = format!("targets/{}.json", host.target);
        directory.write(&path, 0o644, &document(&host)?)?;
        targets.push(host.target);
    }
    directory.commit()?;
    Ok(targets)
}

fn count(targets: usize) -> String {
    match targets {
        1 => "1 target".to_owned(),
        n => format!("{n} targets"),
    }
}

fn hash(file: &Path, output: &Output) -> Result<ExitCode, Failure> {
    let hash = compiled(file)?.hash();
    output.show(&json!({"file": file, "hash": hash}), || hash.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a policy from standard input, up to one byte past the limit, so that the loader can report the length.
fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut source = Vec::new();
    let limit = u64::try_from(MAX_POLICY_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    io::stdin()
        .take(limit)
        .read_to_end(&mut source)
        .map_err(|error| Failure::unreadable("standard input".as_ref(), &error))?;
    Ok(source)
}
