//! The compiled policy: names resolved, templates merged, durations parsed. Only [`crate::load`] makes
//! one, so whoever holds one knows that it is consistent.

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

/// A policy in force.
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
    /// SHA-256 of the file's bytes: the name of this policy in intents and audit records.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// What someone should look at, in file order.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Limits and defaults for everyone.
    #[must_use]
    pub fn global(&self) -> &Global {
        &self.global
    }

    /// Every agent, by name.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values().map(Arc::as_ref)
    }

    /// The agent of this name.
    #[must_use]
    pub fn agent(&self, name: &AgentName) -> Option<&Agent> {
        self.agent_index.get(name).map(Arc::as_ref)
    }

    /// The agent that lives on the appliance under this UID.
    #[must_use]
    pub fn agent_by_uid(&self, uid: u32) -> Option<&Agent> {
        self.uids.get(&uid).map(Arc::as_ref)
    }

    /// Every target, by name.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.values().map(Arc::as_ref)
    }

    /// The target of this name.
    #[must_use]
    pub fn target(&self, name: &TargetName) -> Option<&Target> {
        self.targets.get(name).map(Arc::as_ref)
    }

    /// Every role, by name.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values().map(Arc::as_ref)
    }

    /// The role of this name.
    #[must_use]
    pub fn role(&self, name: &RoleName) -> Option<&Role> {
        self.roles.get(name).map(Arc::as_ref)
    }

    /// Every HTTP service, by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().map(Arc::as_ref)
    }

    /// Every remote MCP server, by name.
    pub fn remotes(&self) -> impl Iterator<Item = &Remote> {
        self.remotes.values().map(Arc::as_ref)
    }

    /// Where the HTTP proxy may connect to.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The people who approve and operate, by name.
    pub fn admins(&self) -> impl Iterator<Item = &Admin> {
        self.admins.values()
    }

    /// The admin whose Unix account has this UID.
    #[must_use]
    pub fn admin_by_uid(&self, uid: u32) -> Option<&Admin> {
        self.admins.values().find(|admin| admin.uid == Some(uid))
    }

    /// Limits of the signer.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What the daemons demand of the kernel.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}

/// Limits and defaults for everyone (section `global`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// Most certificates of all agents together at one time.
    pub max_active_certs: u32,
    /// A certificate's life where the request names none.
    pub default_ttl: Ttl,
    /// A certificate's longest life.
    pub max_ttl: Ttl,
    /// Requests of one agent at the broker; `None`: not limited.
    pub rate_limit: Option<Rate>,
    /// Whether a target without a pinned host key is refused.
    pub host_key_strict: bool,
}

/// Limits of the signer (section `signer`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Requests of one agent at the signer.
    pub rate_limit: Rate,
    /// Requests of all agents together at the signer.
    pub global_rate_limit: Rate,
    /// How long a delegation certificate lets the broker mint tokens.
    pub delegation_ttl: Ttl,
}

/// What the daemons demand of the kernel (section `sandbox`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Least Landlock ABI with which the daemons start; 0: as much as there is.
    pub minimum_abi: u32,
}
