//! The argument `envelope`: what a task is held to, as pairs and as flat filters.

use std::collections::{BTreeMap, BTreeSet};

use ephyr_mcp::schema::{Object, Schema};
use ephyr_names::NameError;
use ephyr_token::{Grants, Narrowing, Scope};
use serde::Deserialize;

/// Names in one list or map of the argument; more do not fit into a token.
const MOST: usize = 200;

type Pairs = BTreeMap<String, BTreeSet<String>>;
type List = BTreeSet<String>;

/// The argument as agents write it; its schema has been checked.
#[derive(Default, Deserialize)]
pub(super) struct NarrowingArguments {
    ssh: Option<Pairs>,
    http: Option<Pairs>,
    mcp: Option<Pairs>,
    targets: Option<List>,
    roles: Option<List>,
    services: Option<List>,
    methods: Option<List>,
    remotes: Option<List>,
}

impl NarrowingArguments {
    /// Makes names of the texts.
    pub(super) fn into_narrowing(self) -> Result<Narrowing, NameError> {
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

fn grants<K, V>(pairs: Option<Pairs>) -> Result<Option<Grants<K, V>>, NameError>
where
    K: Ord + std::str::FromStr<Err = NameError>,
    V: Ord + std::str::FromStr<Err = NameError>,
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
    T: Ord + std::str::FromStr<Err = NameError>,
{
    let set = |list: List| {
        list.iter()
            .map(|name| name.parse())
            .collect::<Result<_, NameError>>()
    };
    Ok(list.map(set).transpose()?.map(Scope::Only))
}

/// The argument's schema.
pub(super) fn schema() -> Schema {
    let name = || Schema::string(1..=128);
    let names = || Schema::array(name(), 0..=MOST);
    let pairs = |what: &'static str| Schema::map(names(), 0..=MOST).describe(what);
    let object = Object::new()
        .optional(
            "ssh",
            pairs("roles by target, such as {\"web\": [\"read\"]}"),
        )
        .optional("http", pairs("methods by service"))
        .optional("mcp", pairs("tools by remote"))
        .optional("targets", names().describe("only these targets"))
        .optional("roles", names().describe("only these roles"))
        .optional("services", names().describe("only these services"))
        .optional("methods", names().describe("only these HTTP methods"))
        .optional("remotes", names().describe("only these remotes"));
    Schema::object(object)
        .describe("what the task is held to; what is left out stays as it is, an empty list denies")
}
