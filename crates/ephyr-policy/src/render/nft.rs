//! The nftables table of the agents on this machine: `nft/ephyr.nft` and a policy's definitions for it.
//!
//! The rules are a file that people read; a policy adds elements to its sets and counters, and no rule.
//! What gets into the text are numbers, networks and agents' names, which have no character that means
//! anything to nft.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::str::FromStr;

use ephyr_names::AgentName;
use ipnet::IpNet;

use crate::model::{Agent, Policy};

/// The rules as people read them; they know no agent.
const RULES: &str = include_str!("../../../../nft/ephyr.nft");

/// How the rules name their table.
const TABLE: &str = "inet ephyr";

/// A policy's part in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftTable {
    policy: String,
    agents: Vec<Walled>,
}

/// An agent with a user on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Walled {
    name: AgentName,
    uid: u32,
    reachable: BTreeSet<Exception>,
}

/// Somewhere that an agent may connect to, over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Exception {
    net: IpNet,
    port: u16,
}

/// Where the broker listens over TCP: a loopback address with port, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerListen(Option<SocketAddr>);

/// What a counter has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How a table differs from the one that is in force.
#[derive(Debug, Clone, Copy)]
pub struct Renamed<'a> {
    /// Its name, an identifier of nft.
    pub name: &'static str,
    /// Whether it is there without seeing a packet.
    pub dormant: bool,
    /// Where its counters begin, by name; the others begin at zero.
    pub counts: &'a BTreeMap<String, Count>,
}

/// Why a text says not where the broker listens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a loopback address with port, such as 127.0.0.1:8554, nor off")]
pub struct BrokerListenError(String);

impl FromStr for BrokerListen {
    type Err = BrokerListenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self(Some(address))),
            _ => Err(BrokerListenError(text.to_owned())),
        }
    }
}

impl NftTable {
    /// The table of this policy, where the broker listens there.
    #[must_use]
    pub fn new(policy: &Policy, broker: BrokerListen) -> Self {
        Self {
            policy: policy.hash().to_string(),
            agents: policy
                .agents()
                .filter_map(|agent| Walled::new(agent, broker))
                .collect(),
        }
    }

    /// The hash of the policy that it is made of.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The whole ruleset, for `nft -f`: one transaction that replaces the table.
    #[must_use]
    pub fn ruleset(&self) -> String {
        let definitions = self.definitions();
        let hash = &self.policy;
        format!("{RULES}\n# Made of the policy {hash}.\n{definitions}")
    }

    /// What the policy adds to the rules, for `nft -f` behind them.
    #[must_use]
    pub fn definitions(&self) -> String {
        self.define(&BTreeMap::new())
    }

    /// The ruleset under another name.
    #[must_use]
    pub fn ruleset_as(&self, table: &Renamed<'_>) -> String {
        let opening = format!("table {TABLE} {{");
        let rules = match table.dormant {
            true => RULES.replace(&opening, &format!("{opening}\n\tflags dormant;")),
            false => RULES.to_owned(),
        };
        let text = format!("{rules}\n{}", self.define(table.counts));
        text.replace(TABLE, &format!("inet {}", table.name))
    }

    /// The agents with their UIDs and the counters of what is rejected of them, by name.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentName, u32, String)> {
        self.agents
            .iter()
            .map(|agent| (&agent.name, agent.uid, agent.counter()))
    }

    fn define(&self, counts: &BTreeMap<String, Count>) -> String {
        let mut text = String::new();
        for agent in &self.agents {
            agent.define(&mut text, counts.get(&agent.counter()));
        }
        text
    }
}

impl Walled {
    fn new(agent: &Agent, broker: BrokerListen) -> Option<Self> {
        let uid = agent.uid?;
        let listed = agent.egress.iter().map(|egress| Exception {
            net: egress.cidr,
            port: egress.port,
        });
        // Whoever lives here has the broker's socket. The broker hears it over TCP by an API key or a
        // bound token alone, so that nobody else needs the port.
        let hears = agent.api_key.is_some() || agent.require_pop;
        let port = broker.0.filter(|_| hears).map(|address| Exception {
            net: address.ip().into(),
            port: address.port(),
        });
        Some(Self {
            name: agent.name.clone(),
            uid,
            reachable: widest(&listed.chain(port).collect()),
        })
    }

    fn counter(&self) -> String {
        format!("agent-{}", self.name)
    }

    fn define(&self, text: &mut String, count: Option<&Count>) {
        let Self {
            name,
            uid,
            reachable,
        } = self;
        let counter = self.counter();
        let start = count.map_or_else(String::new, |Count { packets, bytes }| {
            format!(" {{ packets {packets} bytes {bytes} }}")
        });
        let mut lines = vec![
            format!("counter {TABLE} {counter}{start}"),
            format!("element {TABLE} agents {{ {uid} comment \"{name}\" }}"),
            format!("element {TABLE} rejected {{ {uid} : \"{counter}\" }}"),
        ];
        lines.extend(reachable.iter().map(|Exception { net, port }| {
            let set = match net {
                IpNet::V4(_) => "reachable4",
                IpNet::V6(_) => "reachable6",
            };
            format!("element {TABLE} {set} {{ {uid} . {net} . {port} comment \"{name}\" }}")
        }));
        for line in lines {
            text.push_str("add ");
            text.push_str(&line);
            text.push('\n');
        }
    }
}

/// Without those that another one contains: a set with intervals takes no overlaps.
fn widest(all: &BTreeSet<Exception>) -> BTreeSet<Exception> {
    let within = |one: &Exception, other: &Exception| {
        one != other && one.port == other.port && other.net.contains(&one.net)
    };
    all.iter()
        .filter(|one| !all.iter().any(|other| within(one, other)))
        .copied()
        .collect()
}
