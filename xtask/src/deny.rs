//! Checks the bans, licences and sources of `deny.toml` against `cargo metadata`.
//!
//! cargo-deny checks the same rules of the same file, and also advisories and licence texts. It takes minutes to
//! build, so the tests run it only if it is installed.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use spdx::{Expression, ParseMode};

use crate::run::{self, Show, cargo};
use crate::tally::Tally;

const RULES: &str = "deny.toml";

/// The supported part of `deny.toml`.
#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    /// Target triples whose dependencies are checked.
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    /// SPDX identifiers, with exceptions if any.
    allow: Vec<String>,
    exceptions: Vec<LicenseException>,
}

#[derive(Deserialize)]
struct LicenseException {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Sources {
    #[serde(rename = "allow-registry")]
    allow_registry: Vec<String>,
}

/// A package of the resolved graph.
#[derive(Deserialize, Clone)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// `registry+URL`, `git+URL`, or `None` for a path.
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize, Clone)]
struct Dependency {
    name: String,
    req: String,
    path: Option<String>,
}

/// Checks bans, licences and sources.
///
/// # Errors
/// `deny.toml` or the output of `cargo metadata` cannot be read.
pub(crate) fn check() -> Result<Tally, String> {
    let path = run::root().join(RULES);
    let text = fs::read_to_string(&path).map_err(|error| format!("{RULES}: {error}"))?;
    let rules: Rules = toml::from_str(&text).map_err(|error| format!("{RULES}: {error}"))?;
    let packages = packages(&rules.graph.targets)?;
    let mut tally = Tally::default();
    for (name, faults) in [
        ("bans", bans(&rules.bans, &packages)),
        ("licenses", licenses(&rules.licenses, &packages)?),
        ("sources", sources(&rules.sources, &packages)),
    ] {
        for fault in &faults {
            run::say(&format!("  {fault}"));
        }
        let passed = faults.is_empty();
        run::say(&format!("{} {name}", if passed { "PASS" } else { "FAIL" }));
        tally += Tally::one(passed);
    }
    Ok(tally)
}

/// Returns every package built for one of the targets with all features, by id.
fn packages(targets: &[String]) -> Result<Vec<Package>, String> {
    let mut found = BTreeMap::new();
    for target in targets {
        let mut command = cargo(&["metadata", "--locked", "--format-version", "1"]);
        command.args(["--all-features", "--filter-platform", target]);
        let done = run::run(&mut command, Show::No, Duration::from_secs(300))?;
        let line = done.output.lines().find(|line| line.starts_with('{'));
        let metadata: Value = line
            .and_then(|line| serde_json::from_str(line).ok())
            .ok_or_else(|| format!("cargo metadata failed: {}", done.last_line()))?;
        // `packages` also lists packages of other platforms; the resolved nodes do not.
        let nodes = metadata["resolve"]["nodes"].as_array();
        let resolved: Vec<&str> = nodes
            .ok_or("cargo metadata has no resolved graph")?
            .iter()
            .filter_map(|node| node["id"].as_str())
            .collect();
        let all: Vec<Package> = serde_json::from_value(metadata["packages"].clone())
            .map_err(|error| format!("cargo metadata: {error}"))?;
        for package in all {
            if resolved.contains(&package.id.as_str()) {
                found.insert(package.id.clone(), package);
            }
        }
    }
    Ok(found.into_values().collect())
}

fn bans(rules: &Bans, packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        for ban in rules.deny.iter().filter(|ban| ban.name == package.name) {
            faults.push(format!(
                "{} {} is banned: {}",
                package.name, package.version, ban.reason
            ));
        }
        if package.source.is_none() {
            let any = |dependency: &&Dependency| dependency.req == "*" && dependency.path.is_none();
            for dependency in package.dependencies.iter().filter(any) {
                faults.push(format!(
                    "{} depends on any version of {}; name one",
                    package.name, dependency.name
                ));
            }
        }
    }
    faults
}

/// # Errors
/// `deny.toml` allows a licence that is not an SPDX identifier.
fn licenses(rules: &Licenses, packages: &[Package]) -> Result<Vec<String>, String> {
    let parse = |name: &String| {
        spdx::Licensee::parse(name)
            .map_err(|error| format!("{RULES}: {name} is not an SPDX licence: {error}"))
    };
    let allowed: Vec<_> = rules.allow.iter().map(parse).collect::<Result<_, _>>()?;
    let mut faults = Vec::new();
    for package in packages {
        let Package { name, version, .. } = package;
        let more = rules.exceptions.iter().filter(|more| more.name == *name);
        let more: Vec<_> = more
            .flat_map(|more| more.allow.iter().map(parse))
            .collect::<Result<_, _>>()?;
        let Some(text) = &package.license else {
            faults.push(format!("{name} {version} declares no licence"));
            continue;
        };
        let fault = match Expression::parse_mode(text, ParseMode::LAX) {
            Err(error) => Some(error.to_string()),
            Ok(expression) => {
                let known = |req: &spdx::LicenseReq| {
                    allowed.iter().chain(&more).any(|one| one.satisfies(req))
                };
                (!expression.evaluate(known)).then(|| format!("{RULES} does not allow it"))
            }
        };
        if let Some(fault) = fault {
            faults.push(format!("{name} {version} has licence {text:?}: {fault}"));
        }
    }
    Ok(faults)
}

fn sources(rules: &Sources, packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .filter_map(|package| {
            let source = package.source.as_ref()?;
            let registry = source.strip_prefix("registry+").unwrap_or_default();
            let known = rules.allow_registry.iter().any(|known| known == registry);
            (!known).then(|| format!("{} comes from {source}", package.name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, license: Option<&str>, source: Option<&str>) -> Package {
        Package {
            id: name.into(),
            name: name.into(),
            version: "1.0.0".into(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
            dependencies: Vec::new(),
        }
    }

    fn rules() -> Rules {
        toml::from_str(&fs::read_to_string(run::root().join(RULES)).unwrap()).unwrap()
    }

    #[test]
    fn banned_crate_and_wildcard_version_are_faults() {
        let rules = rules().bans;
        let mut ours = package("ephyr-x", None, None);
        assert!(bans(&rules, &[ours.clone(), package("rustls", None, None)]).is_empty());
        for (req, path, faults) in [
            ("*", None, 1),
            ("*", Some("../ephyr-y"), 0),
            ("^1", None, 0),
        ] {
            ours.dependencies = vec![Dependency {
                name: "y".into(),
                req: req.into(),
                path: path.map(str::to_owned),
            }];
            assert_eq!(bans(&rules, &[ours.clone()]).len(), faults, "{req}");
        }
        let faults = bans(&rules, &[package("ring", None, None)]);
        assert!(faults[0].starts_with("ring 1.0.0 is banned: one cryptographic provider"));
    }

    #[test]
    fn licences_are_parsed_as_spdx_expressions() {
        let rules = rules().licenses;
        for (name, license, faults) in [
            ("a", Some("MIT OR GPL-3.0-only"), 0),
            ("a", Some("MIT/Apache-2.0"), 0),
            ("a", Some("MIT AND GPL-3.0-only"), 1),
            ("a", Some("Apache-2.0 WITH LLVM-exception"), 0),
            ("a", Some("nonsense"), 1),
            ("a", None, 1),
            ("a", Some("MIT-0"), 1),
            ("borrow-or-share", Some("MIT-0"), 0),
        ] {
            let found = licenses(&rules, &[package(name, license, None)]).unwrap();
            assert_eq!(found.len(), faults, "{name} {license:?}: {found:?}");
        }
    }

    #[test]
    fn only_the_public_registry_and_paths_are_allowed_sources() {
        let rules = rules().sources;
        let ours = "registry+https://github.com/rust-lang/crates.io-index";
        for (source, faults) in [
            (None, 0),
            (Some(ours), 0),
            (Some("registry+https://example.org/index"), 1),
            (Some("git+https://example.org/x"), 1),
        ] {
            assert_eq!(
                sources(&rules, &[package("a", None, source)]).len(),
                faults,
                "{source:?}"
            );
        }
    }
}
