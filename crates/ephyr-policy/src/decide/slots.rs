//! The ledger of active certificates, for steps 5 to 7 of the decision.
//!
//! Each certificate holds a slot. One call of [`authorize`](crate::authorize) finds and takes a slot, so two requests
//! cannot take the last one. An `exec` certificate holds its slot until it is released, a `user` certificate until it
//! is released or expires.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ephyr_names::{AgentName, RoleName, TargetName, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

/// The number of a slot. A ledger never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotId(u64);

/// The type of the certificate that holds a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateKind {
    /// Sealed to one command.
    Exec,
    /// Issued to the agent.
    User,
}

impl CertificateKind {
    /// Returns whether a new certificate replaces the old one (step 5).
    #[must_use]
    pub fn renews(self) -> bool {
        matches!(self, Self::User)
    }
}

/// A taken slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// The slot's number.
    pub slot: SlotId,
    /// The agent whose limit the slot counts against.
    pub agent: AgentName,
    /// The tasks of the token, the root first; empty without a token.
    pub lineage: Vec<TaskId>,
    /// The target.
    pub target: TargetName,
    /// The role on the target.
    pub role: RoleName,
    /// The type of the certificate.
    pub kind: CertificateKind,
    /// When the slot was taken.
    pub since: Timestamp,
    /// When the slot expires; `None`: it is held until it is released.
    pub expires: Option<Timestamp>,
}

/// Identifies the certificates that replace each other.
type RenewalKey = (
    AgentName,
    Option<TaskId>,
    TargetName,
    RoleName,
    CertificateKind,
);

/// The taken slots.
#[derive(Debug, Default)]
pub struct Ledger {
    last: u64,
    entries: BTreeMap<SlotId, LedgerEntry>,
    by_agent: HashMap<AgentName, usize>,
    renewals: HashMap<RenewalKey, SlotId>,
    by_expiry: BTreeSet<(Timestamp, SlotId)>,
    /// The entries that a slot replaced, oldest first, until a certificate is issued for the slot.
    replaced: HashMap<SlotId, Vec<LedgerEntry>>,
}

/// The limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitReached {
    Agent,
    Global,
}

pub(super) struct SlotRequest<'a> {
    pub(super) agent: &'a AgentName,
    pub(super) lineage: &'a [(TaskId, AgentName)],
    pub(super) target: &'a TargetName,
    pub(super) role: &'a RoleName,
    pub(super) kind: CertificateKind,
}

impl SlotRequest<'_> {
    fn renewal_key(&self) -> Option<RenewalKey> {
        self.kind.renews().then(|| {
            (
                self.agent.clone(),
                self.lineage.last().map(|(task, _)| *task),
                self.target.clone(),
                self.role.clone(),
                self.kind,
            )
        })
    }
}

/// The limits of steps 6 and 7.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) agent: usize,
    pub(super) global: usize,
}

/// The free slot that [`Ledger::find_slot`] found, with the slot that it would replace.
#[derive(Debug, Clone, Copy)]
pub struct FreeSlot {
    replaces: Option<SlotId>,
}

impl Ledger {
    /// Creates a ledger without taken slots.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the taken slots in the order in which they were taken.
    pub fn active(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.values()
    }

    /// Returns the entry of a taken slot.
    #[must_use]
    pub fn entry(&self, slot: SlotId) -> Option<&LedgerEntry> {
        self.entries.get(&slot)
    }

    /// Returns the number of taken slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether no slot is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the number of slots that the agent holds.
    #[must_use]
    pub fn held_by(&self, agent: &AgentName) -> usize {
        self.by_agent.get(agent).copied().unwrap_or(0)
    }

    /// Steps 5 to 7: finds a free slot. Expired slots and the one that would be replaced do not count.
    pub(super) fn find_slot(
        &self,
        wanted: &SlotRequest<'_>,
        limits: Limits,
        now: Timestamp,
    ) -> Result<FreeSlot, LimitReached> {
        let live = |slot: &SlotId| self.entries.get(slot).is_some_and(|e| !is_expired(e, now));
        let replaces = wanted
            .renewal_key()
            .and_then(|key| self.renewals.get(&key).copied())
            .filter(live);
        let expired = || {
            self.by_expiry
                .iter()
                .take_while(|(expires, _)| *expires <= now)
                .filter_map(|(_, slot)| self.entries.get(slot))
        };
        let freed = usize::from(replaces.is_some());
        let own = expired().filter(|e| e.agent == *wanted.agent).count();
        if self.held_by(wanted.agent) - own - freed >= limits.agent {
            return Err(LimitReached::Agent);
        }
        if self.len() - expired().count() - freed >= limits.global {
            return Err(LimitReached::Global);
        }
        Ok(FreeSlot { replaces })
    }

    /// Takes the slot that [`Self::find_slot`] found. The ledger must not have changed since.
    pub(super) fn take(
        &mut self,
        wanted: &SlotRequest<'_>,
        free: FreeSlot,
        now: Timestamp,
        expires: Option<Timestamp>,
    ) -> (SlotId, Vec<LedgerEntry>) {
        self.expire(now);
        let mut replaced = Vec::new();
        if let Some(old) = free.replaces {
            // While the old slot is not confirmed, the certificates that it replaced may still be valid.
            replaced = self.replaced.remove(&old).unwrap_or_default();
            replaced.extend(self.remove(old));
        }
        self.last += 1;
        let slot = SlotId(self.last);
        self.insert(LedgerEntry {
            slot,
            agent: wanted.agent.clone(),
            lineage: wanted.lineage.iter().map(|(task, _)| *task).collect(),
            target: wanted.target.clone(),
            role: wanted.role.clone(),
            kind: wanted.kind,
            since: now,
            expires,
        });
        if !replaced.is_empty() {
            self.replaced.insert(slot, replaced.clone());
        }
        (slot, replaced)
    }

    /// Records that the slot's certificate was issued and when it expires, and drops the entries that it replaced.
    /// Returns the updated entry, also if a later, unconfirmed slot has replaced it; `None` if the slot is free.
    pub fn confirm(&mut self, slot: SlotId, expires: Timestamp) -> Option<LedgerEntry> {
        self.replaced.remove(&slot);
        if let Some(mut entry) = self.remove(slot) {
            entry.expires = entry.expires.map(|_| expires);
            self.insert(entry.clone());
            return Some(entry);
        }
        self.replaced.values_mut().find_map(|chain| {
            let at = chain.iter().position(|entry| entry.slot == slot)?;
            chain.drain(..at);
            let entry = chain.first_mut()?;
            entry.expires = entry.expires.map(|_| expires);
            Some(entry.clone())
        })
    }

    /// Records that no certificate was issued for the slot: frees it and restores the entry that it replaced.
    pub fn abandon(&mut self, slot: SlotId) {
        if self.give_up(slot).is_none() {
            self.forget_replaced(slot);
        }
    }

    /// Frees a slot. If no certificate was issued for it, restores the entry that it replaced.
    fn give_up(&mut self, slot: SlotId) -> Option<LedgerEntry> {
        let mut replaced = self.replaced.remove(&slot).unwrap_or_default();
        let entry = self.remove(slot)?;
        if let Some(old) = replaced.pop() {
            if !replaced.is_empty() {
                self.replaced.insert(old.slot, replaced);
            }
            self.insert(old);
        }
        Some(entry)
    }

    /// Frees a slot and returns its entry; does nothing if the slot is free.
    pub fn release(&mut self, slot: SlotId) -> Option<LedgerEntry> {
        self.replaced.remove(&slot);
        let entry = self.remove(slot);
        if entry.is_none() {
            self.forget_replaced(slot);
        }
        entry
    }

    /// Frees every expired slot and returns the entries. If no certificate was issued for an expired slot, the entry
    /// that it replaced may be valid for longer and is restored.
    pub fn expire(&mut self, now: Timestamp) -> Vec<LedgerEntry> {
        let mut expired = Vec::new();
        while let Some((expires, slot)) = self.by_expiry.first().copied()
            && expires <= now
        {
            expired.extend(self.give_up(slot));
        }
        expired
    }

    /// Restores a slot after a restart and returns whether it did. `exec` certificates ended with the process, so
    /// they are not restored; neither are expired slots.
    pub fn restore(&mut self, entry: LedgerEntry, now: Timestamp) -> bool {
        let lasting = entry.kind.renews() && entry.expires.is_some() && !is_expired(&entry, now);
        if !lasting || self.entries.contains_key(&entry.slot) {
            return false;
        }
        self.last = self.last.max(entry.slot.0);
        self.insert(entry);
        true
    }

    /// Drops a slot that was replaced before its certificate was issued, and that holds none.
    fn forget_replaced(&mut self, slot: SlotId) {
        self.replaced.retain(|_, chain| {
            chain.retain(|entry| entry.slot != slot);
            !chain.is_empty()
        });
    }

    fn insert(&mut self, entry: LedgerEntry) {
        *self.by_agent.entry(entry.agent.clone()).or_default() += 1;
        if let Some(key) = renewal_key(&entry) {
            self.renewals.insert(key, entry.slot);
        }
        if let Some(expires) = entry.expires {
            self.by_expiry.insert((expires, entry.slot));
        }
        self.entries.insert(entry.slot, entry);
    }

    fn remove(&mut self, slot: SlotId) -> Option<LedgerEntry> {
        let entry = self.entries.remove(&slot)?;
        if let Some(held) = self.by_agent.get_mut(&entry.agent) {
            *held -= 1;
            if *held == 0 {
                self.by_agent.remove(&entry.agent);
            }
        }
        if let Some(key) = renewal_key(&entry)
            && self.renewals.get(&key) == Some(&slot)
        {
            self.renewals.remove(&key);
        }
        if let Some(expires) = entry.expires {
            self.by_expiry.remove(&(expires, slot));
        }
        Some(entry)
    }
}

fn renewal_key(entry: &LedgerEntry) -> Option<RenewalKey> {
    entry.kind.renews().then(|| {
        (
            entry.agent.clone(),
            entry.lineage.last().copied(),
            entry.target.clone(),
            entry.role.clone(),
            entry.kind,
        )
    })
}

fn is_expired(entry: &LedgerEntry, now: Timestamp) -> bool {
    entry.expires.is_some_and(|expires| expires <= now)
}
