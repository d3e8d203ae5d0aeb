//! Minting of tokens, which requires the root key and so only the broker can do.

use ephyr_names::{
    AgentName, EpochId, Method, RemoteName, RoleName, ServiceName, TargetName, TaskId, Timestamp,
    ToolName,
};

use crate::caveat::{Dimension, write_grants, write_scope};
use crate::error::MintError;
use crate::keys::{HolderKey, Initiator, RootKey};
use crate::verify::VerifiedToken;
use crate::wire::Token;
use crate::{Envelope, Grants, MAX_DEPTH, Scope};

/// A root task to mint.
#[derive(Clone, Debug)]
pub struct RootSpec {
    /// The id of the task and its tree.
    pub task: TaskId,
    /// The task's agent.
    pub agent: AgentName,
    /// The key to bind the task to, if any.
    pub holder: Option<HolderKey>,
    /// The initiator of the tree.
    pub initiated_by: Option<Initiator>,
    /// The upper bound of its authority. `Any` leaves a dimension to the policy.
    pub envelope: Envelope,
}

/// A child task to mint.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// The child's id.
    pub task: TaskId,
    /// The child's agent: the parent's, or one that accepts delegations from it.
    pub agent: AgentName,
    /// The key to bind the child to, if any.
    pub holder: Option<HolderKey>,
    /// The limits on the parent's authority.
    pub narrowing: Narrowing,
    /// The expiry, not later than the parent's.
    pub expires: Timestamp,
    /// Whether the child may have children.
    pub can_delegate: bool,
    /// The number of generations below the child; `None` for as many as the parent allows.
    pub delegation_depth: Option<u8>,
}

/// Limits on an envelope; `None` keeps the whole dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// Roles by target.
    pub ssh: Option<Grants<TargetName, RoleName>>,
    /// Methods by service.
    pub http: Option<Grants<ServiceName, Method>>,
    /// Tools by remote.
    pub mcp: Option<Grants<RemoteName, ToolName>>,
    /// Filter on targets.
    pub targets: Option<Scope<TargetName>>,
    /// Filter on roles.
    pub roles: Option<Scope<RoleName>>,
    /// Filter on services.
    pub services: Option<Scope<ServiceName>>,
    /// Filter on methods.
    pub methods: Option<Scope<Method>>,
    /// Filter on remotes.
    pub remotes: Option<Scope<RemoteName>>,
}

/// Mints a root task's token with the root key of `spec.task`. The token names all eight dimensions, so
/// that no holder is the first to name one.
///
/// # Errors
/// [`MintError::Depth`] above [`MAX_DEPTH`]; [`MintError::Expiry`] outside the years 0001 to 9999;
/// [`MintError::TooLong`] if the token would exceed [`crate::MAX_TOKEN_BYTES`].
pub fn mint_root(key: &RootKey, epoch: EpochId, spec: &RootSpec) -> Result<Token, MintError> {
    let envelope = &spec.envelope;
    if envelope.delegation_depth > MAX_DEPTH {
        return Err(MintError::Depth(envelope.delegation_depth));
    }
    let mut caveats = Caveats::default();
    caveats.head(spec.task, &spec.agent, spec.holder.as_ref());
    if let Some(by) = &spec.initiated_by {
        caveats.push(format!("initiated_by = {}", by.as_str()));
    }
    caveats.push(write_grants(Dimension::Ssh, &envelope.ssh));
    caveats.push(write_grants(Dimension::Http, &envelope.http));
    caveats.push(write_grants(Dimension::Mcp, &envelope.mcp));
    caveats.push(write_scope(Dimension::Target, &envelope.targets));
    caveats.push(write_scope(Dimension::Role, &envelope.roles));
    caveats.push(write_scope(Dimension::Service, &envelope.services));
    caveats.push(write_scope(Dimension::Method, &envelope.methods));
    caveats.push(write_scope(Dimension::Remote, &envelope.remotes));
    caveats.tail(
        envelope.expires,
        envelope.can_delegate,
        envelope.delegation_depth,
    )?;
    Token::build(key, epoch, spec.task, &caveats.0)
}

/// Mints a child task's token. All caveats of the parent, the broker's and the holder's, precede the
/// child's own segment in its broker section, in the same order.
///
/// The caller has already checked that the policy allows the delegation and that the parent is alive.
///
/// # Errors
/// [`MintError`] if the parent may not delegate or has no depth left, if the child exceeds its parent in
/// authority, time or depth, if its id is already in the lineage, or if the token would be too long.
pub fn mint_child(
    key: &RootKey,
    parent: &VerifiedToken,
    spec: &ChildSpec,
) -> Result<Token, MintError> {
    let envelope = parent.envelope();
    if !envelope.can_delegate {
        return Err(MintError::MayNotDelegate);
    }
    let left = envelope
        .delegation_depth
        .checked_sub(1)
        .ok_or(MintError::DepthUsedUp)?;
    if parent.depth() >= MAX_DEPTH {
        return Err(MintError::TooDeep);
    }
    if parent.lineage().any(|task| task == spec.task) {
        return Err(MintError::RepeatedTask);
    }
    if spec.expires > envelope.expires {
        return Err(MintError::Widens { what: "expires" });
    }
    let depth = match spec.delegation_depth {
        Some(depth) if depth > left => {
            return Err(MintError::Widens {
                what: "delegation_depth",
            });
        }
        Some(depth) => depth,
        None if spec.can_delegate => left,
        None => 0,
    };
    spec.narrowing.check_within(envelope)?;

    let mut caveats = Caveats::inherited(parent);
    caveats.head(spec.task, &spec.agent, spec.holder.as_ref());
    spec.narrowing.write(&mut caveats);
    for denial in &parent.unstated {
        caveats.push((*denial).to_owned());
    }
    caveats.tail(spec.expires, spec.can_delegate, depth)?;
    Token::build(key, parent.epoch(), parent.root(), &caveats.0)
}

/// Mints a token for the same task, bound to `holder`. Binding again to the same key is idempotent.
///
/// # Errors
/// [`MintError::AlreadyBound`] if the task is bound to another key; [`MintError::TooLong`].
pub fn rebind(
    key: &RootKey,
    token: &VerifiedToken,
    holder: &HolderKey,
) -> Result<Token, MintError> {
    let mut caveats = Caveats::inherited(token);
    match token.holder() {
        Some(bound) if bound != holder => return Err(MintError::AlreadyBound),
        Some(_) => {}
        None => caveats.bind_last(holder),
    }
    for denial in &token.unstated {
        caveats.push((*denial).to_owned());
    }
    Token::build(key, token.epoch(), token.root(), &caveats.0)
}

impl Narrowing {
    /// Refuses every name that the parent cannot use, so that the requester gets an error instead of a
    /// silently smaller child.
    fn check_within(&self, parent: &Envelope) -> Result<(), MintError> {
        let Self {
            ssh,
            http,
            mcp,
            targets,
            roles,
            services,
            methods,
            remotes,
        } = self;
        let pairs = [
            (
                "ssh",
                pairs_within(ssh.as_ref(), &parent.ssh, |t, r| parent.allows_ssh(t, r)),
            ),
            (
                "http",
                pairs_within(http.as_ref(), &parent.http, |s, m| parent.allows_http(s, m)),
            ),
            (
                "mcp",
                pairs_within(mcp.as_ref(), &parent.mcp, |r, t| parent.allows_mcp(r, t)),
            ),
        ];
        let names = [
            (
                "targets",
                within(targets.as_ref(), &parent.targets, |t| {
                    parent.reaches_target(t)
                }),
            ),
            (
                "roles",
                within(roles.as_ref(), &parent.roles, |r| parent.reaches_role(r)),
            ),
            (
                "services",
                within(services.as_ref(), &parent.services, |s| {
                    parent.reaches_service(s)
                }),
            ),
            (
                "methods",
                within(methods.as_ref(), &parent.methods, |m| {
                    parent.reaches_method(m)
                }),
            ),
            (
                "remotes",
                within(remotes.as_ref(), &parent.remotes, |r| {
                    parent.reaches_remote(r)
                }),
            ),
        ];
        match pairs.into_iter().chain(names).find(|(_, within)| !within) {
            Some((what, _)) => Err(MintError::Widens { what }),
            None => Ok(()),
        }
    }

    fn write(&self, caveats: &mut Caveats) {
        let Self {
            ssh,
            http,
            mcp,
            targets,
            roles,
            services,
            methods,
            remotes,
        } = self;
        caveats.push_some(
            ssh.as_ref()
                .map(|grants| write_grants(Dimension::Ssh, grants)),
        );
        caveats.push_some(
            http.as_ref()
                .map(|grants| write_grants(Dimension::Http, grants)),
        );
        caveats.push_some(
            mcp.as_ref()
                .map(|grants| write_grants(Dimension::Mcp, grants)),
        );
        caveats.push_some(
            targets
                .as_ref()
                .map(|scope| write_scope(Dimension::Target, scope)),
        );
        caveats.push_some(
            roles
                .as_ref()
                .map(|scope| write_scope(Dimension::Role, scope)),
        );
        caveats.push_some(
            services
                .as_ref()
                .map(|scope| write_scope(Dimension::Service, scope)),
        );
        caveats.push_some(
            methods
                .as_ref()
                .map(|scope| write_scope(Dimension::Method, scope)),
        );
        caveats.push_some(
            remotes
                .as_ref()
                .map(|scope| write_scope(Dimension::Remote, scope)),
        );
    }
}

fn within<T: Ord>(
    child: Option<&Scope<T>>,
    parent: &Scope<T>,
    reached: impl Fn(&T) -> bool,
) -> bool {
    match child {
        None => true,
        Some(Scope::Any) => matches!(parent, Scope::Any),
        Some(Scope::Only(names)) => names.iter().all(reached),
    }
}

fn pairs_within<K: Ord, V: Ord>(
    child: Option<&Grants<K, V>>,
    parent: &Grants<K, V>,
    allowed: impl Fn(&K, &V) -> bool,
) -> bool {
    match child {
        None => true,
        Some(Grants::Any) => matches!(parent, Grants::Any),
        Some(Grants::Only(map)) => map
            .iter()
            .all(|(key, values)| values.iter().all(|value| allowed(key, value))),
    }
}

/// The broker caveats of a token being minted.
#[derive(Default)]
struct Caveats(Vec<Vec<u8>>);

impl Caveats {
    fn inherited(token: &VerifiedToken) -> Self {
        Self(token.token().caveats().map(<[u8]>::to_vec).collect())
    }

    fn push(&mut self, caveat: String) {
        self.0.push(caveat.into_bytes());
    }

    fn push_some(&mut self, caveat: Option<String>) {
        self.0.extend(caveat.map(String::into_bytes));
    }

    fn head(&mut self, task: TaskId, agent: &AgentName, holder: Option<&HolderKey>) {
        self.push(format!("task = {task}"));
        self.push(format!("agent = {agent}"));
        self.push_some(holder.map(holder_caveat));
    }

    fn tail(&mut self, expires: Timestamp, delegate: bool, depth: u8) -> Result<(), MintError> {
        let expires = format!("expires_before = {expires}");
        // A token whose expiry cannot be parsed would never verify.
        if crate::caveat::Caveat::parse(expires.as_bytes()).is_err() {
            return Err(MintError::Expiry);
        }
        self.push(expires);
        self.push(format!("can_delegate = {delegate}"));
        self.push(format!("delegation_depth <= {depth}"));
        Ok(())
    }

    /// Inserts the holder after the agent of the last segment.
    fn bind_last(&mut self, holder: &HolderKey) {
        let agent = self
            .0
            .iter()
            .rposition(|caveat| caveat.starts_with(b"agent = "));
        self.0.insert(
            agent.map_or(0, |at| at + 1),
            holder_caveat(holder).into_bytes(),
        );
    }
}

fn holder_caveat(holder: &HolderKey) -> String {
    format!("holder = {holder}")
}
