//! Who may what: agents with their grants, and admins.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ephyr_names::{AgentName, Method, RemoteName, RoleName, ServiceName, TargetName, ToolName};
use ipnet::IpNet;

use super::hosts::{Role, Target};

/// Where the bcrypt hash of an agent's API key is.
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
            // A hash is a credential: it can be guessed against offline.
            Self::Inline(_) => f.write_str("Inline(..)"),
            Self::Credential(name) => write!(f, "Credential({name})"),
        }
    }
}

/// An agent, its templates merged in.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its name.
    pub name: AgentName,
    /// Its Unix user on the appliance.
    pub uid: Option<u32>,
    /// Where its API key's hash is.
    pub api_key: Option<KeySource>,
    /// For people.
    pub description: String,
    /// Most certificates at one time.
    pub max_concurrent_certs: u32,
    /// What it may be on which target.
    pub ssh: SshGrants,
    /// Which methods it may use on which service.
    pub services: PairGrants<ServiceName, Method>,
    /// Which tools it may call on which remote.
    pub remotes: PairGrants<RemoteName, ToolName>,
    /// What it may see on the dashboard.
    pub dashboard: Option<Level>,
    /// Whether its tokens must be bound to a key.
    pub require_pop: bool,
    /// Whether it acts only by tokens that another agent delegated to it.
    pub delegated_only: bool,
    /// Agents that may delegate to it.
    pub accept_delegation_from: BTreeSet<AgentName>,
    /// What its unit may reach directly; empty: nothing but the broker's socket.
    pub egress: Vec<Egress>,
    pub(crate) access: Access,
}

/// What an agent's SSH grants come to: grants met with the targets' `allowed_roles`, so that a decision
/// has one place to look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    list: Vec<OnTarget>,
    index: HashMap<TargetName, usize>,
}

/// A target on which an agent has a grant, with the roles that are both granted and allowed there.
#[derive(Debug, Clone)]
pub(crate) struct OnTarget {
    pub(crate) target: Arc<Target>,
    pub(crate) roles: Vec<(Arc<Role>, AutoApprove)>,
}

/// Whether grant and target both let a role be used without approval.
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
            Some(OnTarget {
                target: Arc::clone(target),
                roles: allowed
                    .filter_map(|name| Some((Arc::clone(roles.get(name)?), auto_approve)))
                    .collect(),
            })
        };
        let list: Vec<OnTarget> = targets.values().filter_map(on).collect();
        let names = list.iter().map(|on| on.target.name.clone());
        Self {
            index: names.zip(0..).collect(),
            list,
        }
    }

    /// What the agent has on this target.
    pub(crate) fn on(&self, target: &TargetName) -> Option<&OnTarget> {
        self.list.get(*self.index.get(target)?)
    }

    /// What the agent has on every target, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &OnTarget> {
        self.list.iter()
    }
}

impl OnTarget {
    /// The role of this name.
    pub(crate) fn role(&self, name: &RoleName) -> Option<(&Arc<Role>, AutoApprove)> {
        let found = self.roles.iter().find(|(role, _)| role.name == *name);
        found.map(|(role, auto_approve)| (role, *auto_approve))
    }
}

/// What an agent may be on which target.
#[derive(Debug, Clone, Default)]
pub struct SshGrants {
    pub(crate) named: BTreeMap<TargetName, SshGrant>,
    pub(crate) any: Option<SshGrant>,
}

impl SshGrants {
    /// The grant for this target: the one that names it, else the one for `"*"`.
    #[must_use]
    pub fn on(&self, target: &TargetName) -> Option<&SshGrant> {
        self.named.get(target).or(self.any.as_ref())
    }

    /// Whether nothing is granted at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any.is_none()
    }
}

/// One grant of roles.
#[derive(Debug, Clone)]
pub struct SshGrant {
    /// The roles; the target's own `allowed_roles` narrow them further.
    pub roles: BTreeSet<RoleName>,
    /// `false`: a human approves each use, whatever the target says.
    pub auto_approve: bool,
    /// Where it stands in the policy, such as `agents.deploy.ssh.web`.
    pub path: String,
}

/// Pairs of a thing and what may be done with it; `"*"` stands for each thing that is not named.
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
    /// Whether the pair is granted: by the grant that names the thing, else by the one for `"*"`.
    #[must_use]
    pub fn allows(&self, thing: &K, what: &V) -> bool {
        match self.named.get(thing).or(self.any.as_ref()) {
            Some(Allowed::All) => true,
            Some(Allowed::Only(set)) => set.contains(what),
            None => false,
        }
    }

    /// Returns whether anything is granted on the thing.
    #[must_use]
    pub fn covers(&self, thing: &K) -> bool {
        self.any.is_some() || self.named.contains_key(thing)
    }

    /// Whether nothing is granted at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any.is_none()
    }
}

/// What may be done with a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed<V> {
    /// Everything (`["*"]`).
    All,
    /// These.
    Only(BTreeSet<V>),
}

/// A rank on the dashboard, the lower first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Sees.
    Viewer,
    /// Switches and revokes.
    Operator,
    /// Approves and changes.
    Admin,
}

/// A destination that an agent's unit may reach directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Egress {
    /// Its addresses.
    pub cidr: IpNet,
    /// Its TCP port.
    pub port: u16,
}

/// Someone who approves and operates.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Its name.
    pub name: AgentName,
    /// Its Unix user on the appliance.
    pub uid: Option<u32>,
    /// The keys whose signatures approve.
    pub ssh_keys: Vec<ssh_key::PublicKey>,
    /// Its rank.
    pub level: Level,
    /// For people.
    pub description: String,
}
