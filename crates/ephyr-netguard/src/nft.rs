//! The program `nft`: the one thing that speaks to nf_tables here.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nftables::batch::Batch;
use nftables::schema::{NfListObject, Table};
use nftables::types::NfFamily;

/// Where it is on most systems; an unprivileged PATH often lacks the directory.
const USUAL: &str = "/usr/sbin/nft";

/// What `nft` says of a table that there is not.
const ABSENT: &str = "No such file or directory";

/// The program, and how it is called: without environment, so that neither language nor configuration
/// of whoever calls change what it says.
#[derive(Debug, Clone)]
pub(crate) struct Nft {
    program: PathBuf,
}

/// Why `nft` did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NftError {
    #[error("there is no nft in PATH; install nftables or say --nft PATH")]
    NotFound,
    #[error("{program} cannot be run: {why}")]
    NotRun {
        program: PathBuf,
        why: std::io::Error,
    },
    #[error("nft cannot {what}: {said}")]
    Failed { what: String, said: String },
}

impl Nft {
    /// This program, or the one in PATH.
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

    /// The program's file.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Loads a ruleset: all of it or nothing.
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
            what: "remove the table".to_owned(),
            said: error.to_string(),
        })?;
        let done = self.run(["-j", "-f", "-"], &commands)?;
        if done.status.success() {
            return Ok(());
        }
        Err(failed("remove the table", &done))
    }

    /// A table as text; nothing where there is no such table.
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
        // nft reads its input to the end before it says anything, and a program that does not read
        // fails by its exit status.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output().map_err(not_run)
    }
}

fn failed(what: &str, done: &Output) -> NftError {
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.trim();
    let said = if said.is_empty() {
        done.status.to_string()
    } else {
        said.chars().take(500).collect()
    };
    NftError::Failed {
        what: what.to_owned(),
        said,
    }
}
