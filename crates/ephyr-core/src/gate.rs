//! The decision path and its ledger of slots. Every entrypoint builds an action and gets either a permit, which holds
//! its slot until it is dropped, or a denial.

use std::collections::HashMap;
use std::sync::Arc;

use ephyr_names::{AgentName, Serial, TaskId, Timestamp};
use ephyr_policy::{
    Decision, Denial, Ledger, LedgerEntry, Policy, SlotId, SshAction, SshGranted, SshPermit,
    Subject,
};
use serde::{Deserialize, Serialize};

use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The decision path and the slots that it has reserved.
#[derive(Default)]
pub struct Gate {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    ledger: Ledger,
    /// Serial and expiry of the certificate issued for each slot.
    serials: HashMap<SlotId, (Serial, Timestamp)>,
}

/// An issued certificate, as the state journal stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// Its ledger entry: slot, agent, lineage, target and role.
    pub entry: LedgerEntry,
    /// Its serial.
    pub serial: Serial,
    /// Its expiry.
    pub expires: Timestamp,
}

impl Issued {
    /// Returns whether a later certificate replaces this one.
    #[must_use]
    pub fn is_renewed_by(&self, later: &Self) -> bool {
        let key = |issued: &Self| {
            let entry = &issued.entry;
            let task = entry.lineage.last().copied();
            let (target, role) = (entry.target.clone(), entry.role.clone());
            (entry.agent.clone(), task, target, role, entry.kind)
        };
        later.entry.kind.renews() && key(self) == key(later)
    }
}

/// A permit with its slot. Dropping it frees the slot: either nothing was issued, or the key, generated for one
/// command, no longer exists. If the key is the agent's own, [`Held::keep`] or [`Held::keep_unseen`] keeps the slot
/// while a certificate exists or may exist.
pub struct Held {
    permit: SshPermit,
    gate: Arc<Gate>,
    kept: bool,
}

impl Gate {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on an action and reserves a slot if it is allowed.
    ///
    /// # Errors
    /// The denial.
    pub fn authorize(
        self: &Arc<Self>,
        policy: &Policy,
        subject: &Subject,
        action: &SshAction,
        now: Timestamp,
    ) -> Result<Held, Denial> {
        let mut slots = self.slots();
        slots.expire(now);
        match ephyr_policy::authorize(policy, &mut slots.ledger, subject, action, now) {
            Decision::Permit(permit) => Ok(Held {
                permit,
                gate: Arc::clone(self),
                kept: false,
            }),
            Decision::Denied(denial) => Err(denial),
        }
    }

    /// Returns the decision that [`Gate::authorize`] would make now, without reserving a slot.
    ///
    /// # Errors
    /// The denial.
    pub fn preview<'p>(
        &self,
        policy: &'p Policy,
        subject: &Subject,
        action: &SshAction,
        now: Timestamp,
    ) -> Result<SshGranted<'p>, Denial> {
        let slots = self.slots();
        ephyr_policy::preview(policy, &slots.ledger, subject, action, now)
    }

    /// Records the certificate issued for a slot.
    pub fn issued(&self, slot: SlotId, serial: Serial, expires: Timestamp) {
        self.slots().serials.insert(slot, (serial, expires));
    }

    /// Restores a certificate issued before a restart. Returns whether it is still valid.
    pub fn restore(&self, issued: &Issued, now: Timestamp) -> bool {
        let mut slots = self.slots();
        let restored = slots.ledger.restore(issued.entry.clone(), now);
        if restored {
            slots
                .serials
                .insert(issued.entry.slot, (issued.serial, issued.expires));
        }
        restored
    }

    /// Returns an agent's valid certificates; with `task`, only those of its subtree.
    #[must_use]
    pub fn certificates(
        &self,
        agent: &AgentName,
        task: Option<TaskId>,
        now: Timestamp,
    ) -> Vec<Issued> {
        let mut slots = self.slots();
        slots.expire(now);
        let own = |entry: &&LedgerEntry| {
            entry.agent == *agent && task.is_none_or(|task| entry.lineage.contains(&task))
        };
        let issued = |entry: &LedgerEntry| {
            let (serial, expires) = slots.serials.get(&entry.slot)?;
            Some(Issued {
                entry: entry.clone(),
                serial: *serial,
                expires: *expires,
            })
        };
        slots
            .ledger
            .active()
            .filter(own)
            .filter_map(issued)
            .collect()
    }

    /// Returns the number of slots in use.
    #[must_use]
    pub fn active(&self, now: Timestamp) -> usize {
        let mut slots = self.slots();
        slots.expire(now);
        slots.ledger.len()
    }
}

impl Slots {
    fn expire(&mut self, now: Timestamp) {
        for entry in self.ledger.expire(now) {
            self.serials.remove(&entry.slot);
        }
    }
}

impl Held {
    /// Returns the permit.
    pub fn permit(&self) -> &SshPermit {
        &self.permit
    }

    /// Keeps the slot until `expires`, since the signer has issued the certificate, whether or not it reaches the
    /// agent. Returns the certificate to journal, or `None` if it has expired already or a later one has replaced it.
    pub fn keep(self, serial: Serial, expires: Timestamp) -> Option<Issued> {
        let entry = self.settle(expires, Some(serial))?;
        Some(Issued {
            entry,
            serial,
            expires,
        })
    }

    /// Keeps the slot until `expires` or until the same certificate is requested again, since the signer may have
    /// issued one. Its serial is unknown, so nothing is journalled.
    pub fn keep_unseen(self, expires: Timestamp) {
        self.settle(expires, None);
    }

    fn settle(mut self, expires: Timestamp, serial: Option<Serial>) -> Option<LedgerEntry> {
        self.kept = true;
        let mut slots = self.gate.slots();
        for old in self.permit.replaced() {
            slots.serials.remove(&old.slot);
        }
        let slot = self.permit.slot();
        let entry = slots.ledger.confirm(slot, expires)?;
        if let Some(serial) = serial {
            slots.serials.insert(slot, (serial, expires));
        }
        Some(entry)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.kept {
            let mut slots = self.gate.slots();
            slots.serials.remove(&self.permit.slot());
            slots.ledger.abandon(self.permit.slot());
        }
    }
}
