//! Caveats that a holder may append.

use std::fmt;
use std::str::FromStr;

use ephyr_names::{Method, RemoteName, RoleName, ServiceName, TargetName, Timestamp, ToolName};

use crate::caveat::{
    Caveat, Dimension, Limit, List, parse_grants, parse_scope, write_grants, write_scope,
};
use crate::{Grants, Scope};

/// A caveat that any holder may append to a token, such as `ssh IN [web:read]`. It has no unlimited form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderCaveat(Body);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    /// The caveat's text, items in the order written.
    List(Box<str>),
    ExpiresBefore(Timestamp),
    CanDelegate(bool),
    DelegationDepth(u8),
}

/// Why a text is not a caveat that a holder may append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this caveat cannot be appended: {0}")]
pub struct LimitError(&'static str);

impl HolderCaveat {
    /// Limits SSH to these roles on these targets.
    #[must_use]
    pub fn ssh(pairs: impl IntoIterator<Item = (TargetName, RoleName)>) -> Self {
        Self::paired(Dimension::Ssh, &pairs.into_iter().collect())
    }

    /// Limits HTTP to these methods on these services.
    #[must_use]
    pub fn http(pairs: impl IntoIterator<Item = (ServiceName, Method)>) -> Self {
        Self::paired(Dimension::Http, &pairs.into_iter().collect())
    }

    /// Limits MCP to these tools of these remotes.
    #[must_use]
    pub fn mcp(pairs: impl IntoIterator<Item = (RemoteName, ToolName)>) -> Self {
        Self::paired(Dimension::Mcp, &pairs.into_iter().collect())
    }

    /// Limits SSH to these targets.
    #[must_use]
    pub fn targets(names: impl IntoIterator<Item = TargetName>) -> Self {
        Self::flat(Dimension::Target, &names.into_iter().collect())
    }

    /// Limits SSH to these roles.
    #[must_use]
    pub fn roles(names: impl IntoIterator<Item = RoleName>) -> Self {
        Self::flat(Dimension::Role, &names.into_iter().collect())
    }

    /// Limits HTTP to these services.
    #[must_use]
    pub fn services(names: impl IntoIterator<Item = ServiceName>) -> Self {
        Self::flat(Dimension::Service, &names.into_iter().collect())
    }

    /// Limits HTTP to these methods.
    #[must_use]
    pub fn methods(names: impl IntoIterator<Item = Method>) -> Self {
        Self::flat(Dimension::Method, &names.into_iter().collect())
    }

    /// Limits MCP to these remotes.
    #[must_use]
    pub fn remotes(names: impl IntoIterator<Item = RemoteName>) -> Self {
        Self::flat(Dimension::Remote, &names.into_iter().collect())
    }

    /// Denies everything from this time on.
    #[must_use]
    pub const fn expires_before(time: Timestamp) -> Self {
        Self(Body::ExpiresBefore(time))
    }

    /// Forbids delegation with `false`; `true` changes nothing.
    #[must_use]
    pub const fn can_delegate(may: bool) -> Self {
        Self(Body::CanDelegate(may))
    }

    /// Limits the generations of tasks below this one.
    #[must_use]
    pub const fn delegation_depth(depth: u8) -> Self {
        Self(Body::DelegationDepth(depth))
    }

    fn flat<T: Ord + fmt::Display>(dimension: Dimension, scope: &Scope<T>) -> Self {
        Self(Body::List(write_scope(dimension, scope).into()))
    }

    fn paired<K, V>(dimension: Dimension, grants: &Grants<K, V>) -> Self
    where
        K: Ord + fmt::Display,
        V: Ord + fmt::Display,
    {
        Self(Body::List(write_grants(dimension, grants).into()))
    }
}

impl fmt::Display for HolderCaveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Body::List(text) => f.write_str(text),
            Body::ExpiresBefore(time) => write!(f, "expires_before = {time}"),
            Body::CanDelegate(may) => write!(f, "can_delegate = {may}"),
            Body::DelegationDepth(depth) => write!(f, "delegation_depth <= {depth}"),
        }
    }
}

impl FromStr for HolderCaveat {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        match Caveat::parse(text.as_bytes()).map_err(LimitError)? {
            Caveat::Limit(Limit::List(_, List::Any)) => Err(LimitError("\"*\" limits nothing")),
            Caveat::Limit(Limit::List(dimension, list)) => {
                check_items(dimension, list).map_err(LimitError)?;
                Ok(Self(Body::List(text.into())))
            }
            Caveat::Limit(Limit::ExpiresBefore(time)) => Ok(Self(Body::ExpiresBefore(time))),
            Caveat::Limit(Limit::CanDelegate(may)) => Ok(Self(Body::CanDelegate(may))),
            Caveat::Limit(Limit::DelegationDepth(depth)) => Ok(Self(Body::DelegationDepth(depth))),
            _ => Err(LimitError("only the broker sets task, agent and holder")),
        }
    }
}

fn check_items(dimension: Dimension, list: List<'_>) -> Result<(), &'static str> {
    match dimension {
        Dimension::Ssh => parse_grants::<TargetName, RoleName>(list).map(drop),
        Dimension::Http => parse_grants::<ServiceName, Method>(list).map(drop),
        Dimension::Mcp => parse_grants::<RemoteName, ToolName>(list).map(drop),
        Dimension::Target => parse_scope::<TargetName>(list).map(drop),
        Dimension::Role => parse_scope::<RoleName>(list).map(drop),
        Dimension::Service => parse_scope::<ServiceName>(list).map(drop),
        Dimension::Method => parse_scope::<Method>(list).map(drop),
        Dimension::Remote => parse_scope::<RemoteName>(list).map(drop),
    }
}
