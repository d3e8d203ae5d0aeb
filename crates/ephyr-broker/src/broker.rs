//! The broker as one complete value: made once, before the first socket is served, and shared by all
//! that serve them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use ephyr_audit::Event;
use ephyr_core::audit::Audit;
use ephyr_core::caller::AgentCaller;
use ephyr_core::gate::Gate;
use ephyr_core::live::{Ended, Live};
use ephyr_core::signer::{Pong, Signer, SignerError};
use ephyr_core::state::State;
use ephyr_names::{Digest, Timestamp};
use ephyr_signer_ipc::SandboxReport;
use ephyr_token::CaKeys;
use serde::Serialize;

use crate::auth::keys::Keys;
use crate::clock;
use crate::policy::Loaded;
use crate::reads::{Reads, What};
use crate::sessions::Sessions;

const UNPINNED: &str = "started without --ca-pub, so delegations of any CA key are taken and the signer vouches \
                        for itself: name the file with the CA's public key";

/// What all ways in share.
pub struct Broker {
    parts: Parts,
    policy: ArcSwap<Loaded>,
    gate: Arc<Gate>,
    live: Live,
    keys: Keys,
    started: Timestamp,
    mcp_address: OnceLock<SocketAddr>,
    sessions: Sessions,
    reads: Reads,
    signer_ok: AtomicBool,
    signer_view: ArcSwapOption<SignerView>,
}

/// The signer, as it described itself when it was last asked.
#[derive(Debug, Clone, Serialize)]
pub struct SignerView {
    /// Its version.
    pub version: String,
    /// The policy that it signs by.
    pub policy: Digest,
    /// What confines it.
    pub sandbox: SandboxReport,
}

/// What start-up has opened and checked.
pub struct Parts {
    /// The state of before.
    pub state: State,
    /// The audit log.
    pub audit: Audit,
    /// The way to the signer.
    pub signer: Signer,
    /// What the kernel enforces on this process, in words.
    pub sandbox: SandboxView,
    /// The CA's public keys, where the operator pinned them.
    pub ca_pins: Option<CaKeys>,
}

/// What confines the broker, as `health` tells it.
#[derive(Debug, Clone, Serialize)]
pub struct SandboxView {
    /// The Landlock ABI in force; 0 where there is none.
    pub landlock_abi: u32,
    /// What Landlock enforces.
    pub landlock: Vec<String>,
    /// Whether the state journal, which holds the token secret, lies in memory only.
    pub state_in_memory: bool,
}

impl Broker {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts, policy: Arc<Loaded>, now: Timestamp) -> Self {
        let gate = Arc::new(Gate::default());
        for record in parts.state.certificates() {
            gate.restore(&record, now);
        }
        Self {
            parts,
            policy: ArcSwap::new(policy),
            gate,
            live: Live::default(),
            keys: Keys::default(),
            started: now,
            mcp_address: OnceLock::new(),
            sessions: Sessions::default(),
            reads: Reads::default(),
            signer_ok: AtomicBool::new(false),
            signer_view: ArcSwapOption::empty(),
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> arc_swap::Guard<Arc<Loaded>> {
        self.policy.load()
    }

    /// Puts a policy in force. API keys are compared anew, and what runs is judged by it.
    pub fn replace_policy(&self, policy: Arc<Loaded>) {
        self.policy.store(policy);
        self.keys.forget();
        let (policy, now) = (self.policy(), clock::now());
        self.live.end(Ended::PolicyChanged, |subject, action| {
            action.evaluate(&policy, subject, now).is_err()
        });
    }

    /// Epochs, tasks, revocations.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.parts.state
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.parts.audit
    }

    /// The way to the signer.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.parts.signer
    }

    /// The CA keys that the operator pinned.
    #[must_use]
    pub fn ca_pins(&self) -> Option<&CaKeys> {
        self.parts.ca_pins.as_ref()
    }

    /// What an operator should change about how it was started, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<&'static str> {
        let unpinned = self.ca_pins().is_none().then_some(UNPINNED);
        unpinned.into_iter().collect()
    }

    /// What confines this process.
    #[must_use]
    pub fn sandbox(&self) -> &SandboxView {
        &self.parts.sandbox
    }

    /// The decision path.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// What runs at this moment.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// API keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Sessions of the Unix-socket API.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Whether the signer answered when it was last asked.
    #[must_use]
    pub fn signer_ok(&self) -> bool {
        self.signer_ok.load(Ordering::Relaxed)
    }

    /// Says whether the signer answered.
    pub fn set_signer_ok(&self, ok: bool) {
        self.signer_ok.store(ok, Ordering::Relaxed);
    }

    /// What the signer said of itself when it was last asked, and answered.
    #[must_use]
    pub fn signer_view(&self) -> Option<Arc<SignerView>> {
        self.signer_view.load_full()
    }

    /// Stores the signer's answer to a ping.
    pub fn note_ping(&self, answer: Result<Pong, SignerError>) {
        self.set_signer_ok(answer.is_ok());
        if let Ok(pong) = answer {
            let view = SignerView {
                version: pong.version,
                policy: pong.policy,
                sandbox: pong.sandbox,
            };
            self.signer_view.store(Some(Arc::new(view)));
        }
    }

    /// Notes that the signer gave no certificate.
    pub fn note_signer_failure(&self, error: &SignerError) {
        if matches!(
            error,
            SignerError::Unreachable(_) | SignerError::Lost(_) | SignerError::Timeout
        ) {
            self.set_signer_ok(false);
        }
        let record = self.own_record(Event::SignerFailed);
        self.audit()
            .note(record.with_detail("error", error.to_string()));
    }

    /// When it started.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Where MCP is served over TCP, once it is.
    #[must_use]
    pub fn mcp_address(&self) -> Option<SocketAddr> {
        self.mcp_address.get().copied()
    }

    /// Says where MCP is served over TCP; only the first word counts.
    pub fn set_mcp_address(&self, address: SocketAddr) {
        let _ = self.mcp_address.set(address);
    }

    /// Counts something that a caller looked at.
    pub fn note_read(&self, caller: &AgentCaller, what: What) {
        if let Some(record) = self.reads.count(caller, what, self.policy_hash()) {
            self.audit().note(record);
        }
    }

    /// Passes what was looked at on to the audit log.
    pub fn flush_reads(&self) {
        for record in self.reads.flush() {
            self.audit().note(record);
        }
    }

    /// The hash of the policy in force.
    #[must_use]
    pub fn policy_hash(&self) -> Digest {
        self.policy().hash()
    }
}
