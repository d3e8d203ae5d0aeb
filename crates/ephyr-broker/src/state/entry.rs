//! What stands in the state journal. Changing a form here means a new version of the journal; a program that
//! does not know a kind of entry takes it for damage.

use crate::gate::Issued;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyr_names::{AgentName, EpochId, Serial, TaskId, Timestamp};
use ephyr_token::{DelegationCertificate, HolderKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// One step of the broker's state.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// An epoch began.
    Epoch(EpochEntry),
    /// A task was created.
    Task(TaskRecord),
    /// A task was bound to a key.
    Bound(Binding),
    /// A task and all below it were revoked.
    Revoked(Revocation),
    /// A certificate went into an agent's hands.
    Certificate(CertificateRecord),
    /// Tasks were found to be over. They stay so, whatever the clock says after a restart.
    Ended(Vec<TaskId>),
}

/// A certificate in an agent's hands, so that its slot stays taken across a restart.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct CertificateRecord {
    /// Its slot.
    pub entry: ephyr_policy::Entry,
    /// Its serial.
    pub serial: Serial,
    /// When it ends.
    pub expires: Timestamp,
}

impl CertificateRecord {
    /// Whether a later certificate took the place of this one.
    #[must_use]
    pub fn is_renewed_by(&self, later: &Self) -> bool {
        let what = |record: &Self| {
            let entry = &record.entry;
            let task = entry.lineage.last().copied();
            let (target, role) = (entry.target.clone(), entry.role.clone());
            (entry.agent.clone(), task, target, role, entry.kind)
        };
        later.entry.kind.renews() && what(self) == what(later)
    }
}

impl From<CertificateRecord> for Issued {
    fn from(record: CertificateRecord) -> Self {
        Self {
            entry: record.entry,
            serial: record.serial,
            expires: record.expires,
        }
    }
}

impl From<Issued> for CertificateRecord {
    fn from(issued: Issued) -> Self {
        Self {
            entry: issued.entry,
            serial: issued.serial,
            expires: issued.expires,
        }
    }
}

/// One epoch: the token secret, the receipt key and the signer's delegation.
#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct EpochEntry {
    /// The epoch.
    pub id: EpochId,
    /// The secret from which each tree's root key is derived.
    pub secret: Secret,
    /// The seed of the Ed25519 key that signs receipts.
    pub seed: Secret,
    /// What the signer said of that key.
    pub certificate: DelegationCertificate,
}

/// A live task.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TaskRecord {
    /// The task.
    pub id: TaskId,
    /// From the root down to the task itself.
    pub lineage: Box<[TaskId]>,
    /// The epoch whose secret its tree's tokens are made of.
    pub epoch: EpochId,
    /// Whose task it is.
    pub agent: AgentName,
    /// The agent that made the root.
    pub initiated_by: AgentName,
    /// What it is for, in the agent's words.
    pub description: Box<str>,
    /// When it was created.
    pub created: Timestamp,
    /// When it and its tokens end.
    pub expires: Timestamp,
    /// Whether it may have children.
    pub can_delegate: bool,
    /// The key that its tokens are bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderKey>,
    /// Until when it must be bound, where it must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_deadline: Option<Timestamp>,
    /// The envelope of its first token, as JSON.
    pub envelope: Box<str>,
}

impl TaskRecord {
    /// The root of its tree.
    #[must_use]
    pub fn root(&self) -> TaskId {
        self.lineage.first().copied().unwrap_or(self.id)
    }

    /// The task above it.
    #[must_use]
    pub fn parent(&self) -> Option<TaskId> {
        self.lineage.len().checked_sub(2).map(|at| self.lineage[at])
    }

    /// How far below the root it is.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.lineage.len().saturating_sub(1)
    }
}

/// A task's tokens are from here on good only with proofs by this key.
#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The task.
    pub task: TaskId,
    /// The key.
    pub holder: HolderKey,
}

/// A watermark: from `at` on no token with `task` in its lineage is worth anything.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The task revoked.
    pub task: TaskId,
    /// When.
    pub at: Timestamp,
    /// Until when it must be remembered: the root's end.
    pub until: Timestamp,
}

/// 32 secret bytes. Written only into the journal, which lies on tmpfs; never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub [u8; 32]);

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0)))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| serde::de::Error::custom("not base64url"))?;
        let bytes = bytes.as_slice().try_into();
        bytes
            .map(Self)
            .map_err(|_| serde::de::Error::custom("32 bytes are expected"))
    }
}
