//! A token's authority: [`Scope`] for a flat dimension, [`Grants`] for a paired one, [`Envelope`] for all.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use ephyr_names::{Method, RemoteName, RoleName, ServiceName, TargetName, Timestamp, ToolName};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A flat dimension of authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope<T: Ord> {
    /// No limit: the policy decides.
    Any,
    /// Only these items. The empty set denies everything.
    Only(BTreeSet<T>),
}

impl<T: Ord> Scope<T> {
    /// Returns the scope that denies everything.
    #[must_use]
    pub const fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    /// Returns whether `item` is within the scope.
    pub fn contains<Q: Ord + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        match self {
            Self::Any => true,
            Self::Only(set) => set.contains(item),
        }
    }

    /// Returns whether the scope denies everything.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Only(set) if set.is_empty())
    }

    /// Keeps only what both allow.
    pub fn narrow(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::Any) => {}
            (Self::Any, only) => *self = only,
            (Self::Only(mine), Self::Only(theirs)) => mine.retain(|item| theirs.contains(item)),
        }
    }

    /// Returns whether everything within `self` is within `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Any, Self::Only(_)) => false,
            (Self::Only(mine), Self::Only(theirs)) => mine.is_subset(theirs),
        }
    }
}

impl<T: Ord> FromIterator<T> for Scope<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::Only(items.into_iter().collect())
    }
}

/// A paired dimension: target → roles, service → methods, remote → tools. Values apply only to their own
/// key (no cross product). A key without values is equivalent to no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grants<K: Ord, V: Ord> {
    /// No limit: the policy decides.
    Any,
    /// Only these pairs. The empty map denies everything.
    Only(BTreeMap<K, BTreeSet<V>>),
}

impl<K: Ord, V: Ord> Grants<K, V> {
    /// Returns the grants that deny everything.
    #[must_use]
    pub const fn none() -> Self {
        Self::Only(BTreeMap::new())
    }

    /// Returns whether this pair is granted.
    #[must_use]
    pub fn allows(&self, key: &K, value: &V) -> bool {
        match self {
            Self::Any => true,
            Self::Only(map) => map.get(key).is_some_and(|values| values.contains(value)),
        }
    }

    /// Returns whether `key` is granted with any value that fits.
    fn some_value(&self, key: &K, fits: impl Fn(&V) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Only(map) => map.get(key).is_some_and(|values| values.iter().any(fits)),
        }
    }

    /// Returns whether any key that fits is granted with `value`.
    fn some_key(&self, value: &V, fits: impl Fn(&K) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Only(map) => map
                .iter()
                .any(|(key, values)| fits(key) && values.contains(value)),
        }
    }

    /// Keeps only the pairs that both allow.
    pub fn narrow(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::Any) => {}
            (Self::Any, only) => *self = only,
            (Self::Only(mine), Self::Only(theirs)) => mine.retain(|key, values| {
                let Some(allowed) = theirs.get(key) else {
                    return false;
                };
                values.retain(|value| allowed.contains(value));
                !values.is_empty()
            }),
        }
    }

    /// Returns whether every pair of `self` is within `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Any, Self::Only(_)) => false,
            (Self::Only(mine), Self::Only(_)) => mine
                .iter()
                .all(|(key, values)| values.iter().all(|value| other.allows(key, value))),
        }
    }
}

impl<K: Ord, V: Ord> FromIterator<(K, V)> for Grants<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut map: BTreeMap<K, BTreeSet<V>> = BTreeMap::new();
        for (key, value) in pairs {
            map.entry(key).or_default().insert(value);
        }
        Self::Only(map)
    }
}

/// A token's authority in all eight dimensions, its expiry and its delegation limits.
///
/// It is an upper bound: the current policy of every agent in the lineage must allow the action as well.
/// In JSON an unlimited dimension is `"*"`, a limited one a list, or an object of lists if paired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Roles by target.
    pub ssh: Grants<TargetName, RoleName>,
    /// Methods by HTTP service.
    pub http: Grants<ServiceName, Method>,
    /// Tools by remote MCP server.
    pub mcp: Grants<RemoteName, ToolName>,
    /// Filter on the targets of `ssh`.
    pub targets: Scope<TargetName>,
    /// Filter on the roles of `ssh`.
    pub roles: Scope<RoleName>,
    /// Filter on the services of `http`.
    pub services: Scope<ServiceName>,
    /// Filter on the methods of `http`.
    pub methods: Scope<Method>,
    /// Filter on the remotes of `mcp`.
    pub remotes: Scope<RemoteName>,
    /// The time from which nothing is allowed.
    pub expires: Timestamp,
    /// Whether child tasks may be created.
    pub can_delegate: bool,
    /// The number of generations of tasks allowed below this one.
    pub delegation_depth: u8,
}

impl Envelope {
    /// Returns an envelope that limits only time and delegation; the policy decides the rest.
    #[must_use]
    pub const fn any(expires: Timestamp, can_delegate: bool, delegation_depth: u8) -> Self {
        Self {
            ssh: Grants::Any,
            http: Grants::Any,
            mcp: Grants::Any,
            targets: Scope::Any,
            roles: Scope::Any,
            services: Scope::Any,
            methods: Scope::Any,
            remotes: Scope::Any,
            expires,
            can_delegate,
            delegation_depth,
        }
    }

    /// Returns an envelope that allows nothing.
    #[must_use]
    pub const fn nothing(expires: Timestamp) -> Self {
        Self {
            ssh: Grants::none(),
            http: Grants::none(),
            mcp: Grants::none(),
            targets: Scope::none(),
            roles: Scope::none(),
            services: Scope::none(),
            methods: Scope::none(),
            remotes: Scope::none(),
            expires,
            can_delegate: false,
            delegation_depth: 0,
        }
    }

    /// Returns whether `role` on `target` is within the envelope.
    #[must_use]
    pub fn allows_ssh(&self, target: &TargetName, role: &RoleName) -> bool {
        self.targets.contains(target) && self.roles.contains(role) && self.ssh.allows(target, role)
    }

    /// Returns whether `method` on `service` is within the envelope.
    #[must_use]
    pub fn allows_http(&self, service: &ServiceName, method: &Method) -> bool {
        self.services.contains(service)
            && self.methods.contains(method)
            && self.http.allows(service, method)
    }

    /// Returns whether `tool` of `remote` is within the envelope.
    #[must_use]
    pub fn allows_mcp(&self, remote: &RemoteName, tool: &ToolName) -> bool {
        self.remotes.contains(remote) && self.mcp.allows(remote, tool)
    }

    /// Returns whether the envelope allows any role on `target`.
    #[must_use]
    pub fn reaches_target(&self, target: &TargetName) -> bool {
        self.targets.contains(target)
            && self
                .ssh
                .some_value(target, |role| self.roles.contains(role))
            && !self.roles.is_none()
    }

    /// Returns whether the envelope allows `role` on any target.
    #[must_use]
    pub fn reaches_role(&self, role: &RoleName) -> bool {
        self.roles.contains(role)
            && self
                .ssh
                .some_key(role, |target| self.targets.contains(target))
            && !self.targets.is_none()
    }

    /// Returns whether the envelope allows any method on `service`.
    #[must_use]
    pub fn reaches_service(&self, service: &ServiceName) -> bool {
        self.services.contains(service)
            && self
                .http
                .some_value(service, |method| self.methods.contains(method))
            && !self.methods.is_none()
    }

    /// Returns whether the envelope allows `method` on any service.
    #[must_use]
    pub fn reaches_method(&self, method: &Method) -> bool {
        self.methods.contains(method)
            && self
                .http
                .some_key(method, |service| self.services.contains(service))
            && !self.services.is_none()
    }

    /// Returns whether the envelope allows any tool of `remote`.
    #[must_use]
    pub fn reaches_remote(&self, remote: &RemoteName) -> bool {
        self.remotes.contains(remote) && self.mcp.some_value(remote, |_| true)
    }

    /// Returns whether `self` is within `other` in every dimension.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.ssh.is_subset(&other.ssh)
            && self.http.is_subset(&other.http)
            && self.mcp.is_subset(&other.mcp)
            && self.targets.is_subset(&other.targets)
            && self.roles.is_subset(&other.roles)
            && self.services.is_subset(&other.services)
            && self.methods.is_subset(&other.methods)
            && self.remotes.is_subset(&other.remotes)
            && self.expires <= other.expires
            && self.can_delegate <= other.can_delegate
            && self.delegation_depth <= other.delegation_depth
    }
}

const ANY: &str = "*";

/// `"*"`, or the limited form.
#[derive(Deserialize)]
#[serde(untagged)]
enum StarOr<T> {
    Star(String),
    Limited(T),
}

impl<T> StarOr<T> {
    fn limited<E: serde::de::Error>(self) -> Result<Option<T>, E> {
        match self {
            Self::Star(star) if star == ANY => Ok(None),
            Self::Star(other) => Err(E::custom(format_args!(
                "{other:?}: expected \"*\" or names"
            ))),
            Self::Limited(limited) => Ok(Some(limited)),
        }
    }
}

impl<T: Ord + Serialize> Serialize for Scope<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str(ANY),
            Self::Only(set) => set.serialize(serializer),
        }
    }
}

impl<'de, T: Ord + DeserializeOwned> Deserialize<'de> for Scope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limited = StarOr::<BTreeSet<T>>::deserialize(deserializer)?.limited()?;
        Ok(limited.map_or(Self::Any, Self::Only))
    }
}

impl<K: Ord + Serialize, V: Ord + Serialize> Serialize for Grants<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str(ANY),
            Self::Only(map) => map.serialize(serializer),
        }
    }
}

impl<'de, K: Ord + DeserializeOwned, V: Ord + DeserializeOwned> Deserialize<'de> for Grants<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limited = StarOr::<BTreeMap<K, BTreeSet<V>>>::deserialize(deserializer)?.limited()?;
        let Some(map) = limited else {
            return Ok(Self::Any);
        };
        if map.values().any(BTreeSet::is_empty) {
            return Err(D::Error::custom("a name has no values: leave the name out"));
        }
        Ok(Self::Only(map))
    }
}
