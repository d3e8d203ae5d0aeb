//! Agents with their grants, and admins.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ephyr_names::{AgentName, Method, RemoteName, RoleName, ServiceName, TargetName, ToolName};
use ipnet::IpNet;

use super::hosts::{Role, Target};

/// The location of the bcrypt hash of an agent's API key.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In the policy itself (`api_key_hash`).
    Inline(String),
    /// In the systemd credential of this name (`api_key_hash_credential`).
    Credential(String),
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // A hash is a credential: it allows offline guessing.
            Self::Inline(_) => f.write_str("Inline(..)"),
            Self::Credential(name) => write!(f, "Credential({name})"),
        }
    }
}

/// An agent with its templates merged in.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The agent's name.
    pub name: AgentName,
    /// The UID on the appliance.
    pub uid: Option<u32>,
    /// The location of the API key's hash.
    pub api_key: Option<KeySource>,
    /// Free text for operators.
    pub description: String,
    /// Maximum number of active certificates.
    pub max_concurrent_certs: u32,
    /// The roles granted on targets.
    pub ssh: SshGrants,
    /// The methods granted on services.
    pub services: PairGrants<ServiceName, Method>,
    /// The tools granted on remotes.
    pub remotes: PairGrants<RemoteName, ToolName>,
    /// The access level on the dashboard; `None`: no access.
    pub dashboard: Option<Level>,
    /// Whether the agent's tokens must be bound to a key.
    pub require_pop: bool,
    /// Whether the agent acts only by tokens that another agent delegated to it.
    pub delegated_only: bool,
    /// Agents that may delegate to this agent.
    pub accept_delegation_from: BTreeSet<AgentName>,
    /// Destinations that the agent's unit may reach directly; empty: nothing but the broker's socket.
    pub egress: Vec<Egress>,
    pub(crate) access: Access,
}

/// An agent's effective SSH access: its grants intersected with the targets' `allowed_roles`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    list: Vec<TargetAccess>,
    index: HashMap<TargetName, usize>,
}

/// A target on which an agent has a grant, with the roles that are both granted and allowed there.
#[derive(Debug, Clone)]
pub(crate) struct TargetAccess {
    pub(crate) target: Arc<Target>,
    pub(crate) roles: Vec<(Arc<Role>, AutoApprove)>,
}

/// Whether both grant and target allow a role to be used without approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AutoApprove(pub(crate) bool);

impl Access {
    pub(crate) fn new(
        grants: &SshGrants,
        targets: &BTreeMap<TargetName, Arc<Target>>,
        roles: &BTreeMap<RoleName, Arc<Role>>,
    ) -> Self {
        let on = |target: &Arc<Target>| {
            let grant = grants.on(&target.name)?;
            let allowed = grant.roles.intersection(&target.allowed_roles);
            let auto_approve = AutoApprove(grant.auto_approve && target.auto_approve);
            Some(TargetAccess {
                target: Arc::clone(target),
                roles: allowed
                    .filter_map(|name| Some((Arc::clone(roles.get(name)?), auto_approve)))
                    .collect(),
            })
        };
        let list: Vec<TargetAccess> = targets.values().filter_map(on).collect();
        let names = list.iter().map(|on| on.target.name.clone());
        Self {
            index: names.zip(0..).collect(),
            list,
        }
    }

    /// Returns the access on this target.
    pub(crate) fn on(&self, target: &TargetName) -> Option<&TargetAccess> {
        self.list.get(*self.index.get(target)?)
    }

    /// Returns the access on every target, sorted by the target's name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &TargetAccess> {
        self.list.iter()
    }
}

impl TargetAccess {
    pub(crate) fn role(&self, name: &RoleName) -> Option<(&Arc<Role>, AutoApprove)> {
        let found = self.roles.iter().find(|(role, _)| role.name == *name);
        found.map(|(role, auto_approve)| (role, *auto_approve))
    }
}

/// The roles granted to an agent on targets.
#[derive(Debug, Clone, Default)]
pub struct SshGrants {
    pub(crate) named: BTreeMap<TargetName, SshGrant>,
    pub(crate) any: Option<SshGrant>,
}

impl SshGrants {
    /// Returns the grant for this target: the one that names it, else the one for `"*"`.
    #[must_use]
    pub fn on(&self, target: &TargetName) -> Option<&SshGrant> {
        self.named.get(target).or(self.any.as_ref())
    }

    /// Returns whether nothing is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any.is_none()
    }
}

/// One grant of roles.
#[derive(Debug, Clone)]
pub struct SshGrant {
    /// The granted roles; the target's `allowed_roles` narrow them further.
    pub roles: BTreeSet<RoleName>,
    /// `false`: a human approves each use even if the target has `auto_approve: true`.
    pub auto_approve: bool,
    /// The grant's key path, such as `agents.deploy.ssh.web`.
    pub path: String,
}

/// Operations granted on resources: methods on services, or tools on remotes. `"*"` stands for each resource that is
/// not named.
#[derive(Debug, Clone)]
pub struct PairGrants<K, V> {
    pub(crate) named: BTreeMap<K, Allowed<V>>,
    pub(crate) any: Option<Allowed<V>>,
}

impl<K, V> Default for PairGrants<K, V> {
    fn default() -> Self {
        Self {
            named: BTreeMap::new(),
            any: None,
        }
    }
}

impl<K: Ord, V: Ord> PairGrants<K, V> {
    /// Returns whether the operation is granted: by the grant that names the resource, else by the one for `"*"`.
    #[must_use]
    pub fn allows(&self, resource: &K, operation: &V) -> bool {
        match self.named.get(resource).or(self.any.as_ref()) {
            Some(Allowed::All) => true,
            Some(Allowed::Only(set)) => set.contains(operation),
            None => false,
        }
    }

    /// Returns whether anything is granted on the resource.
    #[must_use]
    pub fn covers(&self, resource: &K) -> bool {
        self.any.is_some() || self.named.contains_key(resource)
    }

    /// Returns whether nothing is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any.is_none()
    }
}

/// The operations that a grant allows on a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed<V> {
    /// Everything (`["*"]`).
    All,
    /// These.
    Only(BTreeSet<V>),
}

/// An access level of the dashboard, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// May read.
    Viewer,
    /// May also enable, disable and revoke.
    Operator,
    /// May also approve and change.
    Admin,
}

/// A destination that an agent's unit may reach directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Egress {
    /// The addresses.
    pub cidr: IpNet,
    /// The TCP port.
    pub port: u16,
}

/// A person who approves actions and operates the appliance.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The admin's name.
    pub name: AgentName,
    /// The UID on the appliance.
    pub uid: Option<u32>,
    /// The keys whose signatures approve actions.
    pub ssh_keys: Vec<ssh_key::PublicKey>,
    /// The access level.
    pub level: Level,
    /// Free text for operators.
    pub description: String,
}
