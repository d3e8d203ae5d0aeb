//! Checks the dependencies between crates: only on lower layers, never on a daemon, and few for the signer.

use std::time::Duration;

use serde_json::Value;

use crate::run::{self, Show, cargo};
use crate::tally::Tally;

/// Each crate of the workspace and the crates that it depends on. A crate depends only on those before it.
const LAYERS: &[(&str, &[&str])] = &[
    ("ephyr-names", &[]),
    ("ephyr-token", &["ephyr-names"]),
    ("ephyr-policy", &["ephyr-names", "ephyr-token"]),
    ("ephyr-render", &["ephyr-names", "ephyr-policy"]),
    ("ephyr-signer-ipc", &["ephyr-names"]),
    ("ephyr-api", &["ephyr-names", "ephyr-token"]),
    ("ephyr-sandbox", &[]),
    ("ephyr-heap", &[]),
    ("ephyr-mcp", &[]),
    ("ephyr-http", &[]),
    (
        "ephyr-chain",
        &["ephyr-names", "ephyr-token", "ephyr-sandbox"],
    ),
    (
        "ephyr-audit",
        &["ephyr-names", "ephyr-token", "ephyr-chain", "ephyr-sandbox"],
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
    ("ephyr-testkit", &["ephyr-api"]),
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
    ("ephyr-demo", &["ephyr-api", "ephyr-testkit"]),
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

/// Crates that the signer must not depend on, and why.
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

/// Maximum number of packages in the signer's dependency tree.
const SIGNER_MAX: usize = 80;

/// Crates outside the workspace that only some of its crates may depend on, and why.
const RESERVED: [(&str, &[&str], &str); 4] = [
    (
        "russh",
        &["ephyr-ssh"],
        "every SSH connection needs a permit and an attempt",
    ),
    (
        "hyper",
        &[
            "ephyr-http",
            "ephyr-broker",
            "ephyr-mcp",
            "ephyr-cli",
            "ephyr-bench",
        ],
        "state and decisions do not depend on HTTP",
    ),
    (
        "tokio",
        &[
            "ephyr-audit",
            "ephyr-core",
            "ephyr-ssh",
            "ephyr-mcp",
            "ephyr-http",
            "ephyr-broker",
            "ephyr-cli",
            "ephyr-bench",
            "ephyr-models",
        ],
        "pure crates and the signer do no I/O by a runtime",
    ),
    (
        "rustix",
        &[
            "ephyr-sandbox",
            "ephyr-chain",
            "ephyr-audit",
            "ephyr-core",
            "ephyr-ssh",
            "ephyr-signer",
            "ephyr-broker",
            "ephyr-netguard",
            "ephyr-cli",
            "ephyr-testkit",
            "ephyr-models",
            "ephyr-demo",
        ],
        "pure crates make no system calls",
    ),
];

pub(crate) fn check() -> Result<Tally, String> {
    let mut faults = table_faults();
    faults.extend(dependencies()?);
    let mut tally = Tally::one(report("crates depend only on lower layers", &faults));
    tally += Tally::one(report("the signer's dependencies are few", &signer()?));
    Ok(tally)
}

fn report(check: &str, faults: &[String]) -> bool {
    for fault in faults {
        run::say(&format!("  {fault}"));
    }
    run::say(&format!(
        "{} {check}",
        if faults.is_empty() { "PASS" } else { "FAIL" }
    ));
    faults.is_empty()
}

fn dependencies() -> Result<Vec<String>, String> {
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
            "{name} is missing from the layers in xtask/src/layers.rs"
        )];
    };
    let dependencies: Vec<&str> = package["dependencies"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .filter_map(|dependency| dependency["name"].as_str())
        .collect();
    let upward = dependencies
        .iter()
        .filter(|other| other.starts_with("ephyr-") && !allowed.contains(other))
        .map(|other| format!("{name} must not use {other}"));
    let reserved = RESERVED
        .iter()
        .filter(|(other, owners, _)| dependencies.contains(other) && !owners.contains(&name))
        .map(|(other, _, why)| format!("{name} must not use {other}: {why}"));
    let unused = allowed
        .iter()
        .filter(|other| !dependencies.contains(other))
        .map(|other| format!("{name} does not use {other}: remove it from xtask/src/layers.rs"));
    upward.chain(reserved).chain(unused).collect()
}

/// Checks the table itself: every crate once, and only crates before it as its dependencies.
fn table_faults() -> Vec<String> {
    let mut faults = Vec::new();
    for (at, (name, allowed)) in LAYERS.iter().enumerate() {
        let lower = &LAYERS[..at];
        if lower.iter().any(|(other, _)| other == name) {
            faults.push(format!("{name} is listed twice"));
        }
        let above = allowed
            .iter()
            .filter(|other| !lower.iter().any(|(crate_name, _)| crate_name == *other));
        faults.extend(above.map(|other| format!("{name} stands below {other} and lists it")));
    }
    faults
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
        return Err(format!("cargo tree does not list the signer:\n{tree}"));
    }
    let mut faults: Vec<String> = SIGNER_BANS
        .iter()
        .filter(|(banned, _)| names.contains(banned))
        .map(|(banned, why)| format!("ephyr-signer reaches {banned}: {why}"))
        .collect();
    if names.len() > SIGNER_MAX {
        faults.push(format!(
            "ephyr-signer has {} packages, more than {SIGNER_MAX}",
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
    fn dependency_on_a_higher_layer_is_a_fault_except_for_tests() {
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
    fn reserved_and_unused_dependencies_are_faults() {
        let package = json!({"name": "ephyr-core", "dependencies": [
            {"name": "hyper", "kind": null}, {"name": "tokio", "kind": null},
            {"name": "ephyr-names", "kind": null}, {"name": "ephyr-token", "kind": null},
            {"name": "ephyr-policy", "kind": null}, {"name": "ephyr-signer-ipc", "kind": null},
            {"name": "ephyr-sandbox", "kind": null},
        ]});
        assert_eq!(
            faults_of(&package),
            [
                "ephyr-core must not use hyper: state and decisions do not depend on HTTP",
                "ephyr-core does not use ephyr-audit: remove it from xtask/src/layers.rs",
            ]
        );
    }

    #[test]
    fn table_lists_each_crate_once_and_only_lower_ones_below_it() {
        assert_eq!(table_faults(), [] as [String; 0]);
    }

    #[test]
    fn crate_without_a_layer_is_a_fault() {
        assert_eq!(
            faults_of(&json!({"name": "ephyr-new", "dependencies": []})).len(),
            1
        );
    }
}
