//! The compiled policy: names resolved, templates merged, durations parsed. Only [`crate::load`] constructs a
//! [`Policy`], so every instance is consistent.

mod access;
mod hosts;
mod upstreams;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ephyr_names::{AgentName, Digest, RemoteName, RoleName, ServiceName, TargetName, Ttl};

pub use self::access::*;
pub use self::hosts::*;
pub use self::upstreams::*;
use crate::diagnostic::Diagnostic;
use crate::rate::Rate;

/// A compiled policy.
#[derive(Debug)]
pub struct Policy {
    pub(crate) hash: Digest,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) global: Global,
    pub(crate) agents: BTreeMap<AgentName, Arc<Agent>>,
    pub(crate) agent_index: HashMap<AgentName, Arc<Agent>>,
    pub(crate) uids: BTreeMap<u32, Arc<Agent>>,
    pub(crate) roles: BTreeMap<RoleName, Arc<Role>>,
    pub(crate) targets: BTreeMap<TargetName, Arc<Target>>,
    pub(crate) services: BTreeMap<ServiceName, Arc<Service>>,
    pub(crate) remotes: BTreeMap<RemoteName, Arc<Remote>>,
    pub(crate) network: Network,
    pub(crate) admins: BTreeMap<AgentName, Admin>,
    pub(crate) signer: Signer,
    pub(crate) sandbox: Sandbox,
}

impl Policy {
    /// Returns the SHA-256 of the file's bytes, which identifies this policy in intents and audit records.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// Returns the warnings in file order.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Returns the limits and defaults for all agents.
    #[must_use]
    pub fn global(&self) -> &Global {
        &self.global
    }

    /// Returns all agents, sorted by name.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values().map(Arc::as_ref)
    }

    /// Returns the agent with this name.
    #[must_use]
    pub fn agent(&self, name: &AgentName) -> Option<&Agent> {
        self.agent_index.get(name).map(Arc::as_ref)
    }

    /// Returns the agent that runs on the appliance with this UID.
    #[must_use]
    pub fn agent_by_uid(&self, uid: u32) -> Option<&Agent> {
        self.uids.get(&uid).map(Arc::as_ref)
    }

    /// Returns all targets, sorted by name.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.values().map(Arc::as_ref)
    }

    /// Returns the target with this name.
    #[must_use]
    pub fn target(&self, name: &TargetName) -> Option<&Target> {
        self.targets.get(name).map(Arc::as_ref)
    }

    /// Returns all roles, sorted by name.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values().map(Arc::as_ref)
    }

    /// Returns the role with this name.
    #[must_use]
    pub fn role(&self, name: &RoleName) -> Option<&Role> {
        self.roles.get(name).map(Arc::as_ref)
    }

    /// Returns all HTTP services, sorted by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().map(Arc::as_ref)
    }

    /// Returns all remote MCP servers, sorted by name.
    pub fn remotes(&self) -> impl Iterator<Item = &Remote> {
        self.remotes.values().map(Arc::as_ref)
    }

    /// Returns the destinations that the HTTP proxy may connect to.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns all admins, sorted by name.
    pub fn admins(&self) -> impl Iterator<Item = &Admin> {
        self.admins.values()
    }

    /// Returns the admin whose Unix account has this UID.
    #[must_use]
    pub fn admin_by_uid(&self, uid: u32) -> Option<&Admin> {
        self.admins.values().find(|admin| admin.uid == Some(uid))
    }

    /// Returns the limits of the signer.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Returns the kernel features that the daemons require.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}

/// Limits and defaults for all agents (section `global`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// Maximum number of active certificates of all agents together.
    pub max_active_certs: u32,
    /// A certificate's lifetime if the request names none.
    pub default_ttl: Ttl,
    /// A certificate's maximum lifetime.
    pub max_ttl: Ttl,
    /// Maximum rate of requests of one agent at the broker; `None`: not limited.
    pub rate_limit: Option<Rate>,
    /// Whether a target without a pinned host key is refused.
    pub host_key_strict: bool,
}

/// Limits of the signer (section `signer`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Maximum rate of requests of one agent at the signer.
    pub rate_limit: Rate,
    /// Maximum rate of requests of all agents together at the signer.
    pub global_rate_limit: Rate,
    /// How long one delegation certificate lets the broker mint tokens.
    pub delegation_ttl: Ttl,
}

/// Kernel features that the daemons require (section `sandbox`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Lowest Landlock ABI with which the daemons start; 0: no minimum.
    pub minimum_abi: u32,
}
