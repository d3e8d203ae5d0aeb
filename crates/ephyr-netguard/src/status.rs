//! The status file for operators and programs. It is replaced by rename, so readers never see a partial file.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ephyr_names::Timestamp;
use serde::Serialize;

/// The content of `status.json`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Status {
    /// The version of the file format.
    pub(crate) version: u32,
    /// Whether the table in force matched the policy at the last check.
    pub(crate) in_force: bool,
    /// The hash of the policy that the table was compiled from.
    pub(crate) policy: String,
    /// The time of the last check.
    pub(crate) checked: Timestamp,
    /// Number of repairs since the guard started.
    pub(crate) repairs: u64,
    /// The last repair.
    pub(crate) last_repair: Option<Repair>,
    /// The reason why the table is not in force, or why the current policy file is not in use.
    pub(crate) problem: Option<String>,
    /// The agents that have a UID on this machine.
    pub(crate) agents: Vec<AgentStatus>,
    /// The Landlock ABI that confines the guard; 0 without Landlock.
    pub(crate) landlock_abi: u32,
}

/// A repair of a changed table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Repair {
    /// The time of the repair.
    pub(crate) time: Timestamp,
    /// The differences that were found.
    pub(crate) differences: Vec<String>,
}

/// The counters of an agent.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AgentStatus {
    pub(crate) agent: String,
    pub(crate) uid: u32,
    /// Number of rejected packets, including those before reloads and repairs.
    pub(crate) rejected_packets: u64,
    /// Number of bytes in those packets.
    pub(crate) rejected_bytes: u64,
}

impl Status {
    /// Replaces the file, with mode 0644.
    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        let mut beside = PathBuf::from(file);
        beside.set_extension("json.new");
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let _ = fs::remove_file(&beside);
        let mut new = fs::File::create_new(&beside)?;
        // Set explicitly: the unit's umask denies others all access.
        new.set_permissions(fs::Permissions::from_mode(0o644))?;
        new.write_all(&text)?;
        fs::rename(&beside, file)
    }
}
