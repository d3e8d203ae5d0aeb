//! The state shared by all listeners and background tasks: built completely before the first socket is served.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use ephyr_audit::Event;
use ephyr_core::audit::Audit;
use ephyr_core::caller::AgentCaller;
use ephyr_core::gate::Gate;
use ephyr_core::limits::AgentLimits;
use ephyr_core::live::{Ended, Live};
use ephyr_core::signer::{Pong, Signer, SignerError};
use ephyr_core::state::State;
use ephyr_names::{Digest, Timestamp};
use ephyr_signer_ipc::SandboxReport;
use ephyr_token::CaKeys;

use crate::auth::keys::Keys;
use crate::clock;
use crate::policy::Loaded;
use crate::reads::{ReadKind, Reads};
use crate::sessions::ApiSessions;

const UNPINNED: &str = "started without --ca-pub, so delegation certificates of any CA key are accepted and the signer \
                        vouches for itself: pass the file with the CA's public key";

/// The broker.
pub struct Broker {
    parts: Parts,
    policy: ArcSwap<Loaded>,
    gate: Arc<Gate>,
    live: Live,
    keys: Keys,
    started: Timestamp,
    mcp_address: OnceLock<SocketAddr>,
    sessions: ApiSessions,
    limits: AgentLimits,
    reads: Reads,
    signer_ok: AtomicBool,
    signer_view: ArcSwapOption<SignerView>,
}

/// The last answer of the signer to a ping.
#[derive(Debug, Clone)]
pub struct SignerView {
    /// The version of the signer.
    pub version: String,
    /// The hash of the policy that it signs by.
    pub policy: Digest,
    /// The sandbox that confines it.
    pub sandbox: SandboxReport,
}

/// The parts that startup has opened and checked.
pub struct Parts {
    /// The recovered state: epochs, tasks, certificates.
    pub state: State,
    /// The audit log.
    pub audit: Audit,
    /// The client of the signer.
    pub signer: Signer,
    /// The sandbox that the kernel enforces on this process.
    pub sandbox: SandboxView,
    /// The CA's public keys, if the operator pinned them.
    pub ca_pins: Option<CaKeys>,
}

/// The sandbox of the broker, as `health` reports it.
#[derive(Debug, Clone)]
pub struct SandboxView {
    /// The Landlock ABI in force; 0 without Landlock.
    pub landlock_abi: u32,
    /// The restrictions that Landlock enforces.
    pub landlock: Vec<String>,
    /// Whether the state journal, which holds the token secret, is on a file system in memory.
    pub state_in_memory: bool,
}

impl Broker {
    /// Builds the broker; certificates that have not expired occupy their slots again.
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
            sessions: ApiSessions::default(),
            limits: AgentLimits::default(),
            reads: Reads::default(),
            signer_ok: AtomicBool::new(false),
            signer_view: ArcSwapOption::empty(),
        }
    }

    /// Returns the policy in force.
    pub fn policy(&self) -> arc_swap::Guard<Arc<Loaded>> {
        self.policy.load()
    }

    /// Puts a policy in force: forgets verified API keys and ends running actions that it no longer allows.
    pub fn replace_policy(&self, policy: Arc<Loaded>) {
        self.policy.store(policy);
        self.keys.forget();
        let (policy, now) = (self.policy(), clock::now());
        self.live.end(Ended::PolicyChanged, |subject, action| {
            action.evaluate(&policy, subject, now).is_err()
        });
    }

    /// Returns the state: epochs, tasks, certificates, revocations.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.parts.state
    }

    /// Returns the audit log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.parts.audit
    }

    /// Returns the client of the signer.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.parts.signer
    }

    /// Returns the CA keys that the operator pinned.
    #[must_use]
    pub fn ca_pins(&self) -> Option<&CaKeys> {
        self.parts.ca_pins.as_ref()
    }

    /// Returns warnings about the startup options, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<&'static str> {
        let unpinned = self.ca_pins().is_none().then_some(UNPINNED);
        unpinned.into_iter().collect()
    }

    /// Returns the sandbox of this process.
    #[must_use]
    pub fn sandbox(&self) -> &SandboxView {
        &self.parts.sandbox
    }

    /// Returns the gate that decides every action.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Returns the running actions.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Returns the cache of verified API keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns the sessions of the Unix-socket API.
    #[must_use]
    pub fn sessions(&self) -> &ApiSessions {
        &self.sessions
    }

    /// Returns the per-agent limits.
    #[must_use]
    pub fn limits(&self) -> &AgentLimits {
        &self.limits
    }

    /// Returns whether the signer answered its last request.
    #[must_use]
    pub fn signer_ok(&self) -> bool {
        self.signer_ok.load(Ordering::Relaxed)
    }

    /// Sets whether the signer answered its last request.
    pub fn set_signer_ok(&self, ok: bool) {
        self.signer_ok.store(ok, Ordering::Relaxed);
    }

    /// Returns the last answer of the signer to a ping.
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

    /// Records that the signer issued no certificate.
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

    /// Returns the start time.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Returns the TCP address of the MCP listener, once it listens.
    #[must_use]
    pub fn mcp_address(&self) -> Option<SocketAddr> {
        self.mcp_address.get().copied()
    }

    /// Sets the TCP address of the MCP listener; later calls have no effect.
    pub fn set_mcp_address(&self, address: SocketAddr) {
        let _ = self.mcp_address.set(address);
    }

    /// Counts a read for the audit log.
    pub fn note_read(&self, caller: &AgentCaller, read: ReadKind) {
        if let Some(record) = self.reads.count(caller, read, self.policy_hash()) {
            self.audit().note(record);
        }
    }

    /// Passes the counted reads to the audit log.
    pub fn flush_reads(&self) {
        for record in self.reads.flush() {
            self.audit().note(record);
        }
    }

    /// Returns the hash of the policy in force.
    #[must_use]
    pub fn policy_hash(&self) -> Digest {
        self.policy().hash()
    }
}
