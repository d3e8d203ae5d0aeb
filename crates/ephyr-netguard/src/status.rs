//! How things are, in a file for the broker and for people: replaced as a whole, so that no reader sees half.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ephyr_names::Timestamp;
use serde::Serialize;

/// What `status.json` says.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Status {
    /// The form of this file.
    pub(crate) version: u32,
    /// Whether the table in force was the policy's when it was last looked at.
    pub(crate) in_force: bool,
    /// The policy that the table is made of.
    pub(crate) policy: String,
    /// When the table was last looked at.
    pub(crate) checked: Timestamp,
    /// How often it had to be restored since the guard started.
    pub(crate) repairs: u64,
    /// The last time.
    pub(crate) last_repair: Option<Repair>,
    /// Why the table is not in force, or why the policy that is there now is not the one in use.
    pub(crate) problem: Option<String>,
    /// Every agent with a user on this machine.
    pub(crate) agents: Vec<AgentStatus>,
    /// The Landlock ABI that confines the guard; 0: none.
    pub(crate) landlock_abi: u32,
}

/// A table that was not as it should have been.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Repair {
    /// When it was seen.
    pub(crate) time: Timestamp,
    /// How it differed.
    pub(crate) differences: Vec<String>,
}

/// An agent's part.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AgentStatus {
    pub(crate) agent: String,
    pub(crate) uid: u32,
    /// Packets of it that were rejected, over reloads and repairs.
    pub(crate) rejected_packets: u64,
    /// Their bytes.
    pub(crate) rejected_bytes: u64,
}

impl Status {
    /// Writes it, for everyone to read.
    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        let mut beside = PathBuf::from(file);
        beside.set_extension("json.new");
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let _ = fs::remove_file(&beside);
        let mut new = fs::File::create_new(&beside)?;
        // Whatever the umask is: the unit's leaves nothing to others.
        new.set_permissions(fs::Permissions::from_mode(0o644))?;
        new.write_all(&text)?;
        fs::rename(&beside, file)
    }
}
