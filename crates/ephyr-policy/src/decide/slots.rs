//! Which certificates are out: the memory behind steps 5 to 7 of the decision.
//!
//! Everything is counted by slots. A slot is taken in the same call that looks whether one is free, so no
//! two requests can take the last one. An `exec` keeps its slot until it is released; a `session` or
//! `user` certificate keeps it until it is released or expires.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ephyr_names::{AgentName, RoleName, TargetName, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

/// A place in the ledger; never used twice by one ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotId(u64);

/// What a slot is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateKind {
    /// Sealed to one command.
    Exec,
    /// In the agent's hands.
    User,
}

impl CertificateKind {
    /// Whether a new certificate takes the place of the old one (step 5).
    #[must_use]
    pub fn renews(self) -> bool {
        matches!(self, Self::User)
    }
}

/// A slot that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// Its slot.
    pub slot: SlotId,
    /// The agent it counts for.
    pub agent: AgentName,
    /// The tasks it was taken in, the root first; empty without a token.
    pub lineage: Vec<TaskId>,
    /// The target.
    pub target: TargetName,
    /// The role on it.
    pub role: RoleName,
    /// What for.
    pub kind: CertificateKind,
    /// When it was taken.
    pub since: Timestamp,
    /// When it ends by itself; `None`: only when it is released.
    pub expires: Option<Timestamp>,
}

/// What one agent in one task may have only once on one target.
type Renewal = (
    AgentName,
    Option<TaskId>,
    TargetName,
    RoleName,
    CertificateKind,
);

/// The slots that are taken.
#[derive(Debug, Default)]
pub struct Ledger {
    last: u64,
    entries: BTreeMap<SlotId, LedgerEntry>,
    by_agent: HashMap<AgentName, usize>,
    renewals: HashMap<Renewal, SlotId>,
    by_expiry: BTreeSet<(Timestamp, SlotId)>,
    /// What a slot took the place of, the oldest first, as long as nothing was issued for it.
    replaced: HashMap<SlotId, Vec<LedgerEntry>>,
}

/// Which limit a reservation ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The agent's.
    Agent,
    /// Everyone's.
    Global,
}

/// What a slot is asked for.
pub(super) struct SlotRequest<'a> {
    pub(super) agent: &'a AgentName,
    pub(super) lineage: &'a [(TaskId, AgentName)],
    pub(super) target: &'a TargetName,
    pub(super) role: &'a RoleName,
    pub(super) kind: CertificateKind,
}

impl SlotRequest<'_> {
    fn renewal(&self) -> Option<Renewal> {
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

/// Limits of steps 6 and 7.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) agent: usize,
    pub(super) global: usize,
}

/// The answer to "is there room": the slot that would be replaced.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    replaces: Option<SlotId>,
}

impl Ledger {
    /// A ledger with every slot free.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every slot that is taken, in the order in which they were.
    pub fn active(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.values()
    }

    /// The entry of a slot that is taken.
    #[must_use]
    pub fn entry(&self, slot: SlotId) -> Option<&LedgerEntry> {
        self.entries.get(&slot)
    }

    /// How many slots are taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no slot is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many slots the agent holds.
    #[must_use]
    pub fn held_by(&self, agent: &AgentName) -> usize {
        self.by_agent.get(agent).copied().unwrap_or(0)
    }

    /// Steps 5 to 7: whether there is room, counting neither what has expired nor what would be replaced.
    pub(super) fn room(
        &self,
        wanted: &SlotRequest<'_>,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Room, Full> {
        let live = |slot: &SlotId| self.entries.get(slot).is_some_and(|e| !is_over(e, now));
        let replaces = wanted
            .renewal()
            .and_then(|key| self.renewals.get(&key).copied())
            .filter(live);
        let over = || {
            self.by_expiry
                .iter()
                .take_while(|(expires, _)| *expires <= now)
                .filter_map(|(_, slot)| self.entries.get(slot))
        };
        let freed = usize::from(replaces.is_some());
        let own = over().filter(|e| e.agent == *wanted.agent).count();
        if self.held_by(wanted.agent) - own - freed >= limits.agent {
            return Err(Full::Agent);
        }
        if self.len() - over().count() - freed >= limits.global {
            return Err(Full::Global);
        }
        Ok(Room { replaces })
    }

    /// Takes the slot that [`Self::room`] found. `room` must come from this ledger as it is now.
    pub(super) fn take(
        &mut self,
        wanted: &SlotRequest<'_>,
        room: Room,
        now: Timestamp,
        expires: Option<Timestamp>,
    ) -> (SlotId, Vec<LedgerEntry>) {
        self.expire(now);
        let mut replaced = Vec::new();
        if let Some(old) = room.replaces {
            // What the old one took the place of may still be out, if it is not confirmed itself.
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

    /// Says that the slot's certificate was issued and when it really ends. What it took the place of is
    /// forgotten from here on. Gives the slot as it is now, also where a later one has taken its place but
    /// may yet be abandoned; nothing where it is free.
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

    /// Says that no certificate was issued for the slot: frees it, and what it took the place of counts again.
    pub fn abandon(&mut self, slot: SlotId) {
        if self.give_up(slot).is_none() {
            self.forget_replaced(slot);
        }
    }

    /// Frees a slot and takes again what it took the place of, as long as nothing was issued for it.
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

    /// Frees a slot. Freeing one that is free is nothing.
    pub fn release(&mut self, slot: SlotId) -> Option<LedgerEntry> {
        self.replaced.remove(&slot);
        let entry = self.remove(slot);
        if entry.is_none() {
            self.forget_replaced(slot);
        }
        entry
    }

    /// Frees every slot whose time is over, and says which. Where nothing was issued for it in that time,
    /// what it took the place of may be out for longer and counts again.
    pub fn expire(&mut self, now: Timestamp) -> Vec<LedgerEntry> {
        let mut over = Vec::new();
        while let Some((expires, slot)) = self.by_expiry.first().copied()
            && expires <= now
        {
            over.extend(self.give_up(slot));
        }
        over
    }

    /// Takes a slot again as it was before a restart. An `exec` or trial login died with the process, and
    /// what has expired is over, so neither is taken; the answer says whether it was.
    pub fn restore(&mut self, entry: LedgerEntry, now: Timestamp) -> bool {
        let lasting = entry.kind.renews() && entry.expires.is_some() && !is_over(&entry, now);
        if !lasting || self.entries.contains_key(&entry.slot) {
            return false;
        }
        self.last = self.last.max(entry.slot.0);
        self.insert(entry);
        true
    }

    /// A slot that was replaced while it was being issued turned out to hold nothing.
    fn forget_replaced(&mut self, slot: SlotId) {
        self.replaced.retain(|_, chain| {
            chain.retain(|entry| entry.slot != slot);
            !chain.is_empty()
        });
    }

    fn insert(&mut self, entry: LedgerEntry) {
        *self.by_agent.entry(entry.agent.clone()).or_default() += 1;
        if let Some(key) = renewal_of(&entry) {
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
        if let Some(key) = renewal_of(&entry)
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

fn renewal_of(entry: &LedgerEntry) -> Option<Renewal> {
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

fn is_over(entry: &LedgerEntry, now: Timestamp) -> bool {
    entry.expires.is_some_and(|expires| expires <= now)
}
