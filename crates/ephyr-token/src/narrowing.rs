//! The JSON form of a [`Narrowing`] in requests.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use ephyr_names::NameError;
use serde::{Deserialize, Serialize};

use crate::{Envelope, Grants, Narrowing, Scope};

type Pairs = BTreeMap<String, BTreeSet<String>>;
type List = BTreeSet<String>;

/// The requested limits of a task, with names not yet validated. An absent dimension adds no limit; an
/// empty list denies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NarrowingArguments {
    /// Roles by target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Pairs>,
    /// Methods by service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Pairs>,
    /// Tools by remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp: Option<Pairs>,
    /// Only these targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<List>,
    /// Only these roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<List>,
    /// Only these services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<List>,
    /// Only these methods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<List>,
    /// Only these remotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remotes: Option<List>,
}

impl NarrowingArguments {
    /// Validates the names.
    ///
    /// # Errors
    /// The error of the first invalid name.
    pub fn into_narrowing(self) -> Result<Narrowing, NameError> {
        Ok(Narrowing {
            ssh: grants(self.ssh)?,
            http: grants(self.http)?,
            mcp: grants(self.mcp)?,
            targets: scope(self.targets)?,
            roles: scope(self.roles)?,
            services: scope(self.services)?,
            methods: scope(self.methods)?,
            remotes: scope(self.remotes)?,
        })
    }
}

impl Narrowing {
    /// Returns `envelope` narrowed to these limits.
    #[must_use]
    pub fn of(self, mut envelope: Envelope) -> Envelope {
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
        envelope.ssh.narrow(ssh.unwrap_or(Grants::Any));
        envelope.http.narrow(http.unwrap_or(Grants::Any));
        envelope.mcp.narrow(mcp.unwrap_or(Grants::Any));
        envelope.targets.narrow(targets.unwrap_or(Scope::Any));
        envelope.roles.narrow(roles.unwrap_or(Scope::Any));
        envelope.services.narrow(services.unwrap_or(Scope::Any));
        envelope.methods.narrow(methods.unwrap_or(Scope::Any));
        envelope.remotes.narrow(remotes.unwrap_or(Scope::Any));
        envelope
    }
}

fn grants<K, V>(pairs: Option<Pairs>) -> Result<Option<Grants<K, V>>, NameError>
where
    K: Ord + FromStr<Err = NameError>,
    V: Ord + FromStr<Err = NameError>,
{
    let pair = |(key, values): (String, BTreeSet<String>)| {
        let values: Result<BTreeSet<V>, _> = values.iter().map(|value| value.parse()).collect();
        Ok((key.parse()?, values?))
    };
    let map = |pairs: Pairs| {
        pairs
            .into_iter()
            .map(pair)
            .collect::<Result<_, NameError>>()
    };
    Ok(pairs.map(map).transpose()?.map(Grants::Only))
}

fn scope<T>(list: Option<List>) -> Result<Option<Scope<T>>, NameError>
where
    T: Ord + FromStr<Err = NameError>,
{
    let set = |list: List| {
        list.iter()
            .map(|name| name.parse())
            .collect::<Result<_, NameError>>()
    };
    Ok(list.map(set).transpose()?.map(Scope::Only))
}
