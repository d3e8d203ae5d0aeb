//! The decision path with its ledger: every way in builds an action and asks here. The answer is either a permit that
//! holds its slot until it is dropped, or the denial.

use std::collections::HashMap;
use std::sync::Arc;

use ephyr_names::{AgentName, Serial, TaskId, Timestamp};
use ephyr_policy::{
    Decision, Denial, Ledger, LedgerEntry, Policy, SlotId, SshAction, SshGranted, SshPermit,
    Subject,
};
use serde::{Deserialize, Serialize};

use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The decision path together with what it has reserved.
#[derive(Default)]
pub struct Gate {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    ledger: Ledger,
    /// Serials of what was issued for a slot.
    serials: HashMap<SlotId, (Serial, Timestamp)>,
}

/// A certificate that is out; the state journal holds it in this form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// Its slot, with agent, task, target and role.
    pub entry: LedgerEntry,
    /// Its serial.
    pub serial: Serial,
    /// When it ends.
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

/// A permit with its slot. Dropping it gives the slot back: nothing was issued, or its key, which was made
/// for one command, is gone. Where the key is the agent's own, [`Held::keep`] and [`Held::keep_unseen`] say
/// that there is, or may be, a certificate.
pub struct Held {
    permit: SshPermit,
    gate: Arc<Gate>,
    kept: bool,
}

impl Gate {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides, and reserves where the answer is yes.
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

    /// What [`Gate::authorize`] would answer now; reserves nothing.
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

    /// Notes what was issued for a slot.
    pub fn issued(&self, slot: SlotId, serial: Serial, expires: Timestamp) {
        self.slots().serials.insert(slot, (serial, expires));
    }

    /// Takes back a certificate that was out before a restart; says whether it still is.
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

    /// The certificates that an agent has out, those of one task's subtree only where `task` says so.
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

    /// Number of certificates that are out.
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
    /// The permit.
    pub fn permit(&self) -> &SshPermit {
        &self.permit
    }

    /// The signer has made the certificate: the slot stays taken until it ends, whether or not it is given
    /// out. Gives what has to be remembered across a restart; nothing where the time that was asked for is
    /// over already, or a later certificate has taken the place.
    pub fn keep(self, serial: Serial, expires: Timestamp) -> Option<Issued> {
        let entry = self.settle(expires, Some(serial))?;
        Some(Issued {
            entry,
            serial,
            expires,
        })
    }

    /// The signer may have made a certificate, which then ends by `expires`: the slot stays taken until
    /// then, unless the same is asked for again. Nobody knows a serial that could be remembered.
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
