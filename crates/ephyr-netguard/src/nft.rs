//! Runs the program `nft`, through which all access to nf_tables goes.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nftables::batch::Batch;
use nftables::schema::{NfListObject, Table};
use nftables::types::NfFamily;

/// The path on most systems; an unprivileged PATH often lacks the directory.
const USUAL: &str = "/usr/sbin/nft";

/// The error of `nft` for a table that does not exist.
const ABSENT: &str = "No such file or directory";

/// The program `nft`. It runs with an empty environment, so that the caller's locale and configuration cannot change its
/// output.
#[derive(Debug, Clone)]
pub(crate) struct Nft {
    program: PathBuf,
}

/// A call of `nft` failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NftError {
    #[error("nft not found in PATH; install nftables or pass --nft PATH")]
    NotFound,
    #[error("{program} cannot be run: {why}")]
    NotRun {
        program: PathBuf,
        why: std::io::Error,
    },
    #[error("nft cannot {operation}: {stderr}")]
    Failed { operation: String, stderr: String },
}

impl Nft {
    /// Returns the given program, or the one found in PATH. Relative directories in PATH are ignored: they would let
    /// the caller's working directory select the program.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self, NftError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = given.map(Path::to_path_buf).or_else(|| {
            std::env::split_paths(&path)
                .map(|directory| directory.join("nft"))
                .chain([PathBuf::from(USUAL)])
                .find(|program| program.is_absolute() && program.is_file())
        });
        found
            .map(|program| Self { program })
            .ok_or(NftError::NotFound)
    }

    /// Returns the program's path.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Loads a ruleset in one transaction.
    pub(crate) fn load(&self, ruleset: &str) -> Result<(), NftError> {
        let done = self.run(["-f", "-"], ruleset)?;
        if done.status.success() {
            return Ok(());
        }
        Err(failed("load the table", &done))
    }

    /// Removes a table, whether or not it exists.
    pub(crate) fn remove(&self, table: &str) -> Result<(), NftError> {
        let table = NfListObject::Table(Table {
            family: NfFamily::INet,
            name: table.into(),
            handle: None,
        });
        let mut batch = Batch::new();
        // Deleting a table that does not exist is an error, adding one that exists is not.
        batch.add(table.clone());
        batch.delete(table);
        let commands = serde_json::to_string(&batch.to_nftables());
        let commands = commands.map_err(|error| NftError::Failed {
            operation: "remove the table".to_owned(),
            stderr: error.to_string(),
        })?;
        let done = self.run(["-j", "-f", "-"], &commands)?;
        if done.status.success() {
            return Ok(());
        }
        Err(failed("remove the table", &done))
    }

    /// Returns the listing of a table, or `None` if it does not exist.
    pub(crate) fn list(&self, table: &str) -> Result<Option<String>, NftError> {
        let done = self.run(["list", "table", "inet", table], "")?;
        if done.status.success() {
            return Ok(Some(String::from_utf8_lossy(&done.stdout).into_owned()));
        }
        if String::from_utf8_lossy(&done.stderr).contains(ABSENT) {
            return Ok(None);
        }
        Err(failed("list the table", &done))
    }

    fn run<const N: usize>(
        &self,
        arguments: [impl AsRef<OsStr>; N],
        input: &str,
    ) -> Result<Output, NftError> {
        let not_run = |why| NftError::NotRun {
            program: self.program.clone(),
            why,
        };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(not_run)?;
        // nft reads all input before it writes output, so this cannot deadlock. A write error is ignored: a program that
        // does not read its input fails by its exit status.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output().map_err(not_run)
    }
}

fn failed(operation: &str, done: &Output) -> NftError {
    let stderr = String::from_utf8_lossy(&done.stderr);
    let stderr = stderr.trim();
    let stderr = if stderr.is_empty() {
        done.status.to_string()
    } else {
        stderr.chars().take(500).collect()
    };
    NftError::Failed {
        operation: operation.to_owned(),
        stderr,
    }
}
