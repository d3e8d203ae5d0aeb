//! Reduction of a token's caveats to segments and one envelope. It needs no key.

use std::str::FromStr;

use ephyr_names::{
    AgentName, Method, RemoteName, RoleName, ServiceName, TargetName, TaskId, Timestamp, ToolName,
};

use crate::caveat::{Caveat, Dimension, Limit, List, Reason, parse_grants, parse_scope};
use crate::error::TokenError;
use crate::keys::Initiator;
use crate::segment::Segment;
use crate::wire::Token;
use crate::{Envelope, Grants, MAX_DEPTH, Scope};

/// A token's caveats, reduced.
pub(crate) struct Reduced {
    pub(crate) segments: Vec<Segment>,
    pub(crate) initiated_by: Option<Initiator>,
    pub(crate) envelope: Envelope,
    /// Denials implied by the root segment's silence. Minting from this token moves the holder's caveats
    /// into the broker section, where they would count as stated, so these denials must be written out.
    pub(crate) unstated: Vec<&'static str>,
}

/// Reduces a token's caveats in order.
pub(crate) fn reduce(token: &Token) -> Result<Reduced, TokenError> {
    let mut lineage = Lineage::new(token.root());
    let mut limits = Limits::default();
    let mut caveats = token.caveats().enumerate();
    for (index, bytes) in caveats.by_ref().take(token.broker_caveats()) {
        let malformed = |why| TokenError::MalformedCaveat { index, why };
        match Caveat::parse(bytes).map_err(malformed)? {
            Caveat::Limit(limit) => {
                lineage.limit(index)?;
                limits.narrow(limit).map_err(malformed)?;
            }
            Caveat::Task(task) => {
                if !lineage.segments.is_empty() {
                    limits.deny_unstated()?;
                }
                lineage.task(index, task)?;
            }
            Caveat::Agent(agent) => lineage.agent(index, agent)?,
            Caveat::Holder(key) => {
                lineage
                    .advance(index, Position::Holder, Position::InitiatedBy)?
                    .holder = Some(key);
            }
            Caveat::InitiatedBy(by) => {
                lineage.advance(index, Position::InitiatedBy, Position::Limits)?;
                lineage.initiated_by.get_or_insert(by);
            }
        }
    }
    lineage.limit(token.broker_caveats())?;
    // Before the holder section, so that a holder's caveat cannot state what the broker left out.
    let unstated = limits.deny_unstated()?;
    for (index, bytes) in caveats {
        let malformed = |why| TokenError::MalformedCaveat { index, why };
        match Caveat::parse(bytes).map_err(malformed)? {
            Caveat::Limit(Limit::List(_, List::Any)) => return Err(TokenError::Wildcard { index }),
            Caveat::Limit(limit) => limits.narrow(limit).map_err(malformed)?,
            _ => {
                let why = "only the broker sets task, agent and holder";
                return Err(TokenError::MisplacedCaveat { index, why });
            }
        }
    }
    let Lineage {
        segments,
        initiated_by,
        ..
    } = lineage;
    Ok(Reduced {
        segments,
        initiated_by,
        envelope: limits.into_envelope()?,
        unstated,
    })
}

/// The position in a segment: `task`, `agent`, then at most one `holder`, then at most one
/// `initiated_by`, then limits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Position {
    Task,
    Agent,
    Holder,
    InitiatedBy,
    Limits,
}

/// The segments read so far.
struct Lineage {
    root: TaskId,
    segments: Vec<Segment>,
    initiated_by: Option<Initiator>,
    /// The last task read; its `agent` caveat follows.
    task: TaskId,
    next: Position,
}

impl Lineage {
    fn new(root: TaskId) -> Self {
        Self {
            root,
            segments: Vec::new(),
            initiated_by: None,
            task: root,
            next: Position::Task,
        }
    }

    fn task(&mut self, index: usize, task: TaskId) -> Result<(), TokenError> {
        if self.segments.is_empty() && task != self.root {
            return Err(TokenError::RootMismatch);
        }
        if self.next == Position::Agent {
            return Err(out_of_order(index));
        }
        if self.segments.len() > usize::from(MAX_DEPTH) {
            return Err(TokenError::TooDeep);
        }
        if self.segments.iter().any(|segment| segment.task == task) {
            return Err(TokenError::RepeatedTask { index });
        }
        self.task = task;
        self.next = Position::Agent;
        Ok(())
    }

    fn agent(&mut self, index: usize, agent: AgentName) -> Result<(), TokenError> {
        if self.next != Position::Agent {
            return Err(out_of_order(index));
        }
        self.segments.push(Segment {
            task: self.task,
            agent,
            holder: None,
        });
        self.next = Position::Holder;
        Ok(())
    }

    /// Moves on to `next` and returns the open segment, if a caveat at position `at` is allowed here.
    fn advance(
        &mut self,
        index: usize,
        at: Position,
        next: Position,
    ) -> Result<&mut Segment, TokenError> {
        if self.next <= Position::Agent || self.next > at {
            return Err(out_of_order(index));
        }
        self.next = next;
        self.segments.last_mut().ok_or_else(|| out_of_order(index))
    }

    fn limit(&mut self, index: usize) -> Result<(), TokenError> {
        self.advance(index, Position::Limits, Position::Limits)
            .map(drop)
    }
}

const fn out_of_order(index: usize) -> TokenError {
    let why = "the order in a segment is task, agent, holder, initiated_by, limits";
    TokenError::MisplacedCaveat { index, why }
}

/// The limits read so far; `None` for a dimension not named yet.
#[derive(Default)]
struct Limits {
    ssh: Option<Grants<TargetName, RoleName>>,
    http: Option<Grants<ServiceName, Method>>,
    mcp: Option<Grants<RemoteName, ToolName>>,
    targets: Option<Scope<TargetName>>,
    roles: Option<Scope<RoleName>>,
    services: Option<Scope<ServiceName>>,
    methods: Option<Scope<Method>>,
    remotes: Option<Scope<RemoteName>>,
    expires: Option<Timestamp>,
    can_delegate: Option<bool>,
    delegation_depth: Option<u8>,
}

impl Limits {
    fn narrow(&mut self, limit: Limit<'_>) -> Result<(), Reason> {
        match limit {
            Limit::List(Dimension::Ssh, list) => grants(&mut self.ssh, list),
            Limit::List(Dimension::Http, list) => grants(&mut self.http, list),
            Limit::List(Dimension::Mcp, list) => grants(&mut self.mcp, list),
            Limit::List(Dimension::Target, list) => scope(&mut self.targets, list),
            Limit::List(Dimension::Role, list) => scope(&mut self.roles, list),
            Limit::List(Dimension::Service, list) => scope(&mut self.services, list),
            Limit::List(Dimension::Method, list) => scope(&mut self.methods, list),
            Limit::List(Dimension::Remote, list) => scope(&mut self.remotes, list),
            Limit::ExpiresBefore(time) => {
                self.expires = Some(self.expires.map_or(time, |earlier| earlier.min(time)));
                Ok(())
            }
            Limit::CanDelegate(may) => {
                self.can_delegate = Some(self.can_delegate.unwrap_or(true) && may);
                Ok(())
            }
            Limit::DelegationDepth(depth) => {
                self.delegation_depth = Some(self.delegation_depth.unwrap_or(u8::MAX).min(depth));
                Ok(())
            }
        }
    }

    /// Denies every dimension not named so far; returns these denials as caveats.
    fn deny_unstated(&mut self) -> Result<Vec<&'static str>, TokenError> {
        if self.expires.is_none() {
            return Err(TokenError::NoExpiry);
        }
        let mut unstated = Vec::new();
        deny(&mut self.ssh, Grants::none(), "ssh IN []", &mut unstated);
        deny(&mut self.http, Grants::none(), "http IN []", &mut unstated);
        deny(&mut self.mcp, Grants::none(), "mcp IN []", &mut unstated);
        deny(
            &mut self.targets,
            Scope::none(),
            "target IN []",
            &mut unstated,
        );
        deny(&mut self.roles, Scope::none(), "role IN []", &mut unstated);
        deny(
            &mut self.services,
            Scope::none(),
            "service IN []",
            &mut unstated,
        );
        deny(
            &mut self.methods,
            Scope::none(),
            "method IN []",
            &mut unstated,
        );
        deny(
            &mut self.remotes,
            Scope::none(),
            "remote IN []",
            &mut unstated,
        );
        deny(
            &mut self.can_delegate,
            false,
            "can_delegate = false",
            &mut unstated,
        );
        deny(
            &mut self.delegation_depth,
            0,
            "delegation_depth <= 0",
            &mut unstated,
        );
        Ok(unstated)
    }

    fn into_envelope(self) -> Result<Envelope, TokenError> {
        Ok(Envelope {
            ssh: self.ssh.unwrap_or(Grants::none()),
            http: self.http.unwrap_or(Grants::none()),
            mcp: self.mcp.unwrap_or(Grants::none()),
            targets: self.targets.unwrap_or(Scope::none()),
            roles: self.roles.unwrap_or(Scope::none()),
            services: self.services.unwrap_or(Scope::none()),
            methods: self.methods.unwrap_or(Scope::none()),
            remotes: self.remotes.unwrap_or(Scope::none()),
            expires: self.expires.ok_or(TokenError::NoExpiry)?,
            can_delegate: self.can_delegate.unwrap_or(false),
            delegation_depth: self.delegation_depth.unwrap_or(0),
        })
    }
}

fn deny<T>(
    limit: &mut Option<T>,
    nothing: T,
    caveat: &'static str,
    unstated: &mut Vec<&'static str>,
) {
    if limit.is_none() {
        *limit = Some(nothing);
        unstated.push(caveat);
    }
}

fn scope<T: Ord + FromStr>(limit: &mut Option<Scope<T>>, list: List<'_>) -> Result<(), Reason> {
    let read = parse_scope(list)?;
    match limit {
        Some(limit) => limit.narrow(read),
        None => *limit = Some(read),
    }
    Ok(())
}

fn grants<K, V>(limit: &mut Option<Grants<K, V>>, list: List<'_>) -> Result<(), Reason>
where
    K: Ord + FromStr,
    V: Ord + FromStr,
{
    let read = parse_grants(list)?;
    match limit {
        Some(limit) => limit.narrow(read),
        None => *limit = Some(read),
    }
    Ok(())
}
