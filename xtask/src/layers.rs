//! Which crate may know which: arrows point down only, nothing depends on a daemon, and the signer
//! stays small.

use std::time::Duration;

use serde_json::Value;

use crate::run::{self, Show, cargo};
use crate::tally::Tally;

/// Each crate of the workspace and the ones that it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("ephyr-names", &[]),
    ("ephyr-token", &["ephyr-names"]),
    ("ephyr-policy", &["ephyr-names", "ephyr-token"]),
    ("ephyr-render", &["ephyr-names", "ephyr-policy"]),
    ("ephyr-signer-ipc", &["ephyr-names", "ephyr-token"]),
    ("ephyr-api", &["ephyr-names", "ephyr-token"]),
    ("ephyr-sandbox", &[]),
    ("ephyr-heap", &[]),
    ("ephyr-mcp", &[]),
    ("ephyr-http", &[]),
    (
        "ephyr-chain",
        &["ephyr-names", "ephyr-token", "ephyr-sandbox"],
    ),
    ("ephyr-ssh", &["ephyr-names", "ephyr-policy", "ephyr-audit"]),
    (
        "ephyr-core",
        &[
            "ephyr-names",
            "ephyr-token",
            "ephyr-policy",
            "ephyr-signer-ipc",
            "ephyr-sandbox",
            "ephyr-audit",
        ],
    ),
    (
        "ephyr-audit",
        &["ephyr-names", "ephyr-token", "ephyr-chain", "ephyr-sandbox"],
    ),
    ("ephyr-units", &["ephyr-names"]),
    (
        "ephyr-signer",
        &[
            "ephyr-names",
            "ephyr-token",
            "ephyr-policy",
            "ephyr-chain",
            "ephyr-signer-ipc",
            "ephyr-sandbox",
        ],
    ),
    (
        "ephyr-broker",
        &[
            "ephyr-names",
            "ephyr-token",
            "ephyr-policy",
            "ephyr-audit",
            "ephyr-signer-ipc",
            "ephyr-api",
            "ephyr-sandbox",
            "ephyr-heap",
            "ephyr-core",
            "ephyr-ssh",
            "ephyr-mcp",
            "ephyr-http",
        ],
    ),
    (
        "ephyr-cli",
        &[
            "ephyr-names",
            "ephyr-token",
            "ephyr-policy",
            "ephyr-render",
            "ephyr-chain",
            "ephyr-audit",
            "ephyr-api",
            "ephyr-mcp",
            "ephyr-units",
            "ephyr-sandbox",
        ],
    ),
    (
        "ephyr-netguard",
        &[
            "ephyr-names",
            "ephyr-policy",
            "ephyr-render",
            "ephyr-sandbox",
        ],
    ),
    ("ephyr-testkit", &["ephyr-names"]),
    ("ephyr-testkit", &["ephyr-names", "ephyr-api"]),
    // It measures the broker's state and authentication in its own process.
    (
        "ephyr-bench",
        &[
            "ephyr-names",
            "ephyr-token",
            "ephyr-policy",
            "ephyr-signer-ipc",
            "ephyr-api",
            "ephyr-audit",
            "ephyr-core",
            "ephyr-testkit",
        ],
    ),
    ("ephyr-demo", &["ephyr-names", "ephyr-api", "ephyr-testkit"]),
    (
        "ephyr-models",
        &[
            "ephyr-names",
            "ephyr-token",
            "ephyr-policy",
            "ephyr-signer-ipc",
            "ephyr-sandbox",
            "ephyr-audit",
        ],
    ),
    (
        "ephyr-properties",
        &[
            "ephyr-names",
            "ephyr-token",
            "ephyr-policy",
            "ephyr-signer-ipc",
        ],
    ),
];

/// What the key holder must never reach, each for its reason.
const SIGNER_BANS: [(&str, &str); 12] = [
    (
        "tokio",
        "an async runtime is more code than the signer itself",
    ),
    (
        "mio",
        "an async runtime is more code than the signer itself",
    ),
    (
        "futures-util",
        "an async runtime is more code than the signer itself",
    ),
    ("hyper", "the signer speaks no HTTP"),
    ("http", "the signer speaks no HTTP"),
    ("h2", "the signer speaks no HTTP"),
    ("rustls", "the signer speaks no TLS"),
    ("russh", "the signer opens no connection"),
    ("socket2", "the signer opens no network socket"),
    ("aws-lc-sys", "no C code beside the key"),
    ("openssl-sys", "no C code beside the key"),
    ("bcrypt", "the signer knows no API keys"),
];

/// The most packages that the signer may be made of.
const SIGNER_MAX: usize = 80;

pub(crate) fn check() -> Result<Tally, String> {
    let mut tally = Tally::one(report("crates use only what lies below them", &arrows()?));
    tally += Tally::one(report(
        "the signer's dependencies stay few and dull",
        &signer()?,
    ));
    Ok(tally)
}

fn report(what: &str, faults: &[String]) -> bool {
    for fault in faults {
        run::say(&format!("  {fault}"));
    }
    run::say(&format!(
        "{} {what}",
        if faults.is_empty() { "PASS" } else { "FAIL" }
    ));
    faults.is_empty()
}

fn arrows() -> Result<Vec<String>, String> {
    let mut command = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    command.arg("--locked");
    let done = output(&mut command)?;
    let metadata: Value = done
        .lines()
        .find(|line| line.starts_with('{'))
        .ok_or("cargo metadata gave no JSON")
        .and_then(|line| serde_json::from_str(line).map_err(|_| "cargo metadata gave no JSON"))?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    Ok(packages.iter().flat_map(faults_of).collect())
}

fn faults_of(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    if name == "xtask" {
        return Vec::new();
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
        return vec![format!(
            "{name} has no place among the layers (xtask/src/layers.rs)"
        )];
    };
    let dependencies = package["dependencies"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    dependencies
        .iter()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|other| other.starts_with("ephyr-") && !allowed.contains(other))
        .map(|other| format!("{name} must not use {other}"))
        .collect()
}

fn signer() -> Result<Vec<String>, String> {
    let arguments = [
        "tree",
        "--locked",
        "-p",
        "ephyr-signer",
        "-e",
        "normal",
        "--prefix",
        "none",
    ];
    let tree = output(&mut cargo(&arguments))?;
    let mut names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    names.sort_unstable();
    names.dedup();
    if !names.contains(&"ephyr-signer") {
        return Err(format!("cargo tree says nothing of the signer:\n{tree}"));
    }
    let mut faults: Vec<String> = SIGNER_BANS
        .iter()
        .filter(|(banned, _)| names.contains(banned))
        .map(|(banned, why)| format!("ephyr-signer reaches {banned}: {why}"))
        .collect();
    if names.len() > SIGNER_MAX {
        faults.push(format!(
            "ephyr-signer is made of {} packages, more than {SIGNER_MAX}",
            names.len()
        ));
    }
    Ok(faults)
}

fn output(command: &mut std::process::Command) -> Result<String, String> {
    let done = run::run(command, Show::No, Duration::from_secs(120))?;
    if done.ok {
        Ok(done.output)
    } else {
        Err(done.output)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_arrow_upwards_is_a_fault_and_a_test_helper_is_none() {
        let package = json!({"name": "ephyr-token", "dependencies": [
            {"name": "ephyr-names", "kind": null},
            {"name": "ephyr-policy", "kind": null},
            {"name": "ephyr-testkit", "kind": "dev"},
        ]});
        assert_eq!(
            faults_of(&package),
            ["ephyr-token must not use ephyr-policy"]
        );
    }

    #[test]
    fn a_crate_without_a_place_is_a_fault() {
        assert_eq!(
            faults_of(&json!({"name": "ephyr-new", "dependencies": []})).len(),
            1
        );
    }
}
