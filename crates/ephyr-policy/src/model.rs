//! The compiled policy: names resolved, templates merged, durations parsed. Only [`crate::load`] makes
//! one, so whoever holds one knows that it is consistent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ephyr_names::{
    Account, AgentName, Digest, Method, RemoteName, RoleName, ServiceName, TargetName, ToolName,
    Ttl,
};
use ipnet::IpNet;

use crate::commands::CommandPolicy;
use crate::diagnostic::Diagnostic;

/// A policy in force.
#[derive(Debug)]
pub struct Policy {
    pub(crate) hash: Digest,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) global: Global,
    pub(crate) agents: BTreeMap<AgentName, Arc<Agent>>,
    pub(crate) uids: BTreeMap<u32, Arc<Agent>>,
    pub(crate) roles: BTreeMap<RoleName, Arc<Role>>,
    pub(crate) targets: BTreeMap<TargetName, Arc<Target>>,
    pub(crate) services: BTreeMap<ServiceName, Service>,
    pub(crate) remotes: BTreeMap<RemoteName, Remote>,
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
        self.agents.get(name).map(Arc::as_ref)
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
        self.services.values()
    }

    /// Every remote MCP server, by name.
    pub fn remotes(&self) -> impl Iterator<Item = &Remote> {
        self.remotes.values()
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
    /// Requests per agent and window at the broker; `None`: not limited.
    pub rate_limit: Option<Rate>,
    /// Whether a target without a pinned host key is refused.
    pub host_key_strict: bool,
}

/// So many in a window of time, written `60/60s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub window: Ttl,
}

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

/// Who approves an action that is not approved automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// Any admin, in the dashboard or by `ephyr approve`.
    Plain,
    /// An admin with an SSH signature that the signer verifies.
    Signed,
}

/// An SSH host.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name.
    pub name: TargetName,
    /// Its DNS name or address.
    pub host: String,
    /// Its SSH port.
    pub port: u16,
    /// Its VLAN, for people.
    pub vlan: Option<u16>,
    /// The roles that exist on it.
    pub allowed_roles: BTreeSet<RoleName>,
    /// A certificate's longest life on it.
    pub max_ttl: Ttl,
    /// Whether grants are used without a human's approval.
    pub auto_approve: bool,
    /// How a human approves where one must.
    pub approval: Approval,
    /// The command that sshd runs whatever is asked for.
    pub force_command: Option<String>,
    /// What its host key must be.
    pub host_key: HostKey,
    /// Addresses from which the broker connects, as the target sees them; empty: any.
    pub source_address: Vec<IpNet>,
    /// For people.
    pub description: String,
    /// Whether it is switched on in the policy.
    pub enabled: bool,
}

/// What a target's host key must be.
#[derive(Debug, Clone)]
pub enum HostKey {
    /// One of these keys (`host_key`).
    Keys(Vec<ssh_key::PublicKey>),
    /// A key with this fingerprint, `SHA256:…` (`host_key_fingerprint`).
    Fingerprint(ssh_key::Fingerprint),
    /// Any: only where `global.host_key_strict` is `false`.
    Unpinned,
}

impl HostKey {
    /// Whether a key that a server showed is the right one.
    #[must_use]
    pub fn accepts(&self, shown: &ssh_key::PublicKey) -> bool {
        match self {
            Self::Keys(keys) => keys.iter().any(|key| key.key_data() == shown.key_data()),
            Self::Fingerprint(pin) => shown.fingerprint(pin.algorithm()) == *pin,
            Self::Unpinned => true,
        }
    }
}

/// What an agent is on a target: a Unix account and its rights.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// The Unix account.
    pub principal: Account,
    /// For people.
    pub description: String,
    /// The account's login shell.
    pub shell: String,
    /// Whether it is a system account.
    pub system: bool,
    /// What it may run as root.
    pub sudo: Sudo,
    /// Whether the operator knows that the role is as good as root.
    pub allow_root_equivalent: bool,
    /// Whether sessions get a terminal.
    pub pty: bool,
    /// Whether a command may read standard input.
    pub stdin: bool,
    /// Whether certificates without a fixed command are issued in spite of a command policy or approvals.
    pub unsealed: bool,
    /// Whether sessions may forward ports.
    pub port_forwarding: bool,
    /// Whether sessions may forward the SSH agent.
    pub agent_forwarding: bool,
    /// Which commands it may run; `None`: any.
    pub commands: Option<CommandPolicy>,
}

impl Role {
    /// Whether the role may run this command.
    #[must_use]
    pub fn allows_command(&self, command: &str) -> bool {
        self.commands
            .as_ref()
            .is_none_or(|policy| policy.allows(command))
    }
}

/// What a role may run as root on its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sudo {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// These commands, with exactly these arguments.
    Commands(Vec<String>),
}

/// An HTTP service behind the proxy.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Scheme, host, port and path that its requests begin with.
    pub url_prefix: String,
    /// How the broker identifies itself to it.
    pub auth: Auth,
    /// Paths that may be asked for, with `*` for one segment; empty: all below the prefix.
    pub allowed_paths: Vec<String>,
    /// Methods that may be used by anyone; empty: as the grants say.
    pub allowed_methods: BTreeSet<Method>,
    /// Longest answer, in kibibytes.
    pub max_response_kb: u32,
    /// Longest wait for an answer.
    pub timeout: Ttl,
    /// For people.
    pub description: String,
    /// Whether it is switched on in the policy.
    pub enabled: bool,
}

/// A remote MCP server.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Its name; its tools are called `name.tool`.
    pub name: RemoteName,
    /// Its endpoint.
    pub url: String,
    /// How the broker identifies itself to it.
    pub auth: Auth,
    /// Longest answer, in kibibytes.
    pub max_response_kb: u32,
    /// Longest wait for an answer.
    pub timeout: Ttl,
    /// Time between two looks at its tools.
    pub refresh: Ttl,
    /// For people.
    pub description: String,
    /// Whether it is switched on in the policy.
    pub enabled: bool,
}

/// How the broker identifies itself upstream. Credentials are named, never written in the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Bearer <credential>`.
    Bearer {
        /// The credential's name.
        credential: String,
    },
    /// `Authorization: Basic`, with this user and the credential as password.
    Basic {
        /// The user.
        username: String,
        /// The credential's name.
        credential: String,
    },
    /// A header of its own.
    Header {
        /// The header.
        header: String,
        /// The credential's name.
        credential: String,
    },
    /// A parameter of the query.
    Query {
        /// The parameter.
        parameter: String,
        /// The credential's name.
        credential: String,
    },
}

/// Where the HTTP proxy may connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Private addresses that are allowed; empty: all of RFC 1918.
    pub allow_cidrs: Vec<IpNet>,
    /// Addresses that are never allowed; looked at first.
    pub deny_cidrs: Vec<IpNet>,
    /// What holds for all other addresses.
    pub external: External,
}

/// What holds for addresses outside the private ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum External {
    /// None.
    Deny,
    /// Only these host names, `*.` standing for any subdomain.
    Restricted(Vec<String>),
    /// All.
    Open,
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

/// Limits of the signer (section `signer`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Requests per agent and window.
    pub rate_limit: Rate,
    /// Requests of all agents together per window.
    pub global_rate_limit: Rate,
    /// How long a delegation certificate lets the broker mint tokens.
    pub delegation_ttl: Ttl,
}

/// What the daemons demand of the kernel (section `sandbox`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Least Landlock ABI with which the daemons start; 0: as much as there is.
    pub min_landlock_abi: u32,
}
