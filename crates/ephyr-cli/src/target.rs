//! `ephyr target`: renders the accounts and files that a target host needs.

use std::path::Path;
use std::process::ExitCode;

use ephyr_names::TargetName;
use ephyr_policy::Policy;
use ephyr_render::{HostFile, TargetHost, TrustedCaKeys, debian_tree, target_host};
use serde_json::json;

use crate::args::{Format, Render, Target};
use crate::ca::read_key_file;
use crate::directory::NewDirectory;
use crate::failure::Failure;
use crate::output::Output;
use crate::policy_file;

pub(crate) fn run(target: &Target, output: &Output) -> Result<ExitCode, Failure> {
    let Target::Render(render) = target;
    let host = compile(render)?;
    match (render.format, &render.out) {
        (Format::Json, None) => output.raw(&document(&host)?)?,
        (Format::Json, Some(out)) => {
            let directory = NewDirectory::begin(out)?;
            directory.write(&format!("{}.json", host.target), 0o644, &document(&host)?)?;
            directory.commit()?;
            show_written(out, &host, output)?;
        }
        (Format::Debian, None) => {
            return Err(Failure::usage(
                "--format debian creates a directory: name it with --out DIR",
            ));
        }
        (Format::Debian, Some(out)) => {
            let directory = NewDirectory::begin(out)?;
            for file in debian_tree(&host) {
                directory.write(&file.path, mode(&file), file.content.as_bytes())?;
            }
            directory.commit()?;
            show_written(out, &host, output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn compile(render: &Render) -> Result<TargetHost, Failure> {
    let policy = policy_file::compiled(&render.policy)?;
    let keys = ca_keys(&render.ca_pub)?;
    target_host(&policy, &render.name, &render.authority, Some(&keys))
        .ok_or_else(|| unknown(&policy, &render.name))
}

fn unknown(policy: &Policy, name: &TargetName) -> Failure {
    let names: Vec<&str> = policy
        .targets()
        .map(|target| target.name.as_str())
        .collect();
    Failure::data(format!(
        "the policy has no target {name}; it has {}",
        names.join(", ")
    ))
}

/// Encodes a target in the JSON format.
pub(crate) fn document(host: &TargetHost) -> Result<Vec<u8>, Failure> {
    let mut text = serde_json::to_vec_pretty(host).map_err(Failure::protocol)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads the CA's public keys from a file such as `/etc/ephyr/ca.pub`.
pub(crate) fn ca_keys(path: &Path) -> Result<TrustedCaKeys, Failure> {
    let text = read_key_file(path)?;
    TrustedCaKeys::parse(&text)
        .map_err(|error| Failure::data(format!("{}: {error}", path.display())))
}

fn mode(file: &HostFile) -> u32 {
    // `HostFile::mode` is an octal literal; a malformed one gives mode 0, which permits nothing.
    u32::from_str_radix(file.mode, 8).unwrap_or(0)
}

/// Prints the accounts of a target that was written to a directory.
fn show_written(out: &Path, host: &TargetHost, output: &Output) -> Result<(), Failure> {
    let accounts: Vec<&str> = host.accounts.iter().map(|it| it.name.as_str()).collect();
    let value = json!({"target": host.target, "out": out, "accounts": accounts});
    output.show(&value, || {
        format!(
            "target {} in {}: accounts {}\n",
            host.target,
            out.display(),
            accounts.join(", ")
        )
    })
}
