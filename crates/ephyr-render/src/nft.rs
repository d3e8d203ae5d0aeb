//! The nftables table of the agents on this host: the rules of `nft/ephyr.nft`, and a policy's definitions for them.
//!
//! The rules are a fixed file that can be reviewed; a policy adds only counters and set elements. The added text
//! consists of numbers, networks and agent names, which contain no character that nft interprets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::str::FromStr;

use ephyr_names::AgentName;
use ephyr_policy::{Agent, Policy};
use ipnet::IpNet;

/// The rules, which name no agent.
const RULES: &str = include_str!("../../../nft/ephyr.nft");

/// The table's family and name in the rules.
const TABLE: &str = "inet ephyr";

/// The table for one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftTable {
    policy: String,
    agents: Vec<ConfinedAgent>,
}

/// An agent with a user on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ConfinedAgent {
    name: AgentName,
    uid: u32,
    reachable: BTreeSet<Destination>,
}

/// Addresses and a TCP port that an agent may connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Destination {
    net: IpNet,
    port: u16,
}

/// The broker's TCP listener: a loopback address with port, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerListen(Option<SocketAddr>);

/// The value of a counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// The properties of a copy of the table that differ from the table in force.
#[derive(Debug, Clone, Copy)]
pub struct Renamed<'a> {
    /// The copy's name, an nft identifier.
    pub name: &'static str,
    /// Whether the copy has the flag `dormant`: the kernel stores it but passes no packets to it.
    pub dormant: bool,
    /// The initial values of counters, by name; other counters start at zero.
    pub counts: &'a BTreeMap<String, Count>,
}

/// The error for a text that is not a [`BrokerListen`].
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
    /// Returns the table for this policy and this listener of the broker.
    #[must_use]
    pub fn new(policy: &Policy, broker: BrokerListen) -> Self {
        Self {
            policy: policy.hash().to_string(),
            agents: policy
                .agents()
                .filter_map(|agent| ConfinedAgent::new(agent, broker))
                .collect(),
        }
    }

    /// Returns the hash of the policy.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Returns the whole ruleset for `nft -f`: one transaction that replaces the table.
    #[must_use]
    pub fn ruleset(&self) -> String {
        let definitions = self.definitions();
        let hash = &self.policy;
        format!("{RULES}\n# Made of the policy {hash}.\n{definitions}")
    }

    /// Returns the policy's definitions, for `nft -f` after the rules.
    #[must_use]
    pub fn definitions(&self) -> String {
        self.define(&BTreeMap::new())
    }

    /// Returns the ruleset of a copy of the table.
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

    /// Returns the agents with their UIDs and the names of their counters of rejected packets, sorted by name.
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

impl ConfinedAgent {
    fn new(agent: &Agent, broker: BrokerListen) -> Option<Self> {
        let uid = agent.uid?;
        let listed = agent.egress.iter().map(|egress| Destination {
            net: egress.cidr,
            port: egress.port,
        });
        // Agents on this host can use the broker's Unix socket. Over TCP the broker accepts only an API key or a
        // bound token, so agents without either do not need the port.
        let uses_tcp = agent.api_key.is_some() || agent.require_pop;
        let port = broker.0.filter(|_| uses_tcp).map(|address| Destination {
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
        lines.extend(reachable.iter().map(|Destination { net, port }| {
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

/// Returns the destinations not contained in another one: nft rejects overlapping intervals in a set.
fn widest(all: &BTreeSet<Destination>) -> BTreeSet<Destination> {
    let within = |one: &Destination, other: &Destination| {
        one != other && one.port == other.port && other.net.contains(&one.net)
    };
    all.iter()
        .filter(|one| !all.iter().any(|other| within(one, other)))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use ephyr_policy::load;
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "$2b$10$1LNbtRoSK7Q8zgOSXXkOF.eV01BWLr6KPXg.wmykUFLNiL56mT/rC";

    fn table(agents: &str, broker: &str) -> NftTable {
        let policy = load(format!("agents:\n{agents}").as_bytes(), "p").unwrap();
        NftTable::new(&policy, broker.parse().unwrap())
    }

    #[test]
    fn agent_gets_its_uid_counter_and_egress() {
        let agents = "  scout:\n    uid: 1500\n    egress: [{cidr: 10.0.0.0/8, port: 443}, {cidr: \"2001:db8::/32\", port: 22}]\n";
        let expected = "\
add counter inet ephyr agent-scout
add element inet ephyr agents { 1500 comment \"scout\" }
add element inet ephyr rejected { 1500 : \"agent-scout\" }
add element inet ephyr reachable4 { 1500 . 10.0.0.0/8 . 443 comment \"scout\" }
add element inet ephyr reachable6 { 1500 . 2001:db8::/32 . 22 comment \"scout\" }
";
        let table = table(agents, "127.0.0.1:8554");
        assert_eq!(table.definitions(), expected);
        assert!(table.ruleset().starts_with(RULES));
        assert!(table.ruleset().ends_with(expected));
    }

    #[test]
    fn broker_port_is_open_only_to_agents_with_a_key_or_pop() {
        let open = |keys: &str, broker: &str| {
            let agents = format!("  a:\n    uid: 1500\n{keys}");
            table(&agents, broker).definitions().contains("reachable")
        };
        let key = format!("    api_key_hash: {HASH}\n");
        let pop = "    require_pop: true\n";
        assert!(open(&key, "127.0.0.1:8554"));
        assert!(open(pop, "[::1]:8554"));
        assert!(!open("", "127.0.0.1:8554"));
        assert!(!open(&key, "off"));
        assert!(!open(pop, "off"));
    }

    #[test]
    fn agent_without_a_uid_is_not_in_the_table() {
        let agents = format!("  a:\n    api_key_hash: {HASH}\n");
        assert_eq!(table(&agents, "127.0.0.1:8554").definitions(), "");
    }

    #[test]
    fn only_egress_contained_in_another_is_omitted() {
        let agents = "  a:\n    uid: 1500\n    egress: [{cidr: 10.0.0.0/8, port: 443}, {cidr: 10.1.0.0/16, port: 443}, \
                      {cidr: 10.1.0.0/16, port: 22}]\n";
        let text = table(agents, "off").definitions();
        assert!(text.contains("10.0.0.0/8 . 443") && text.contains("10.1.0.0/16 . 22"));
        assert!(!text.contains("10.1.0.0/16 . 443"));
    }

    #[test]
    fn copy_differs_only_in_name_dormancy_and_counts() {
        let table = table("  a:\n    uid: 1500\n", "off");
        let counts = BTreeMap::from([(
            "agent-a".to_owned(),
            Count {
                packets: 3,
                bytes: 180,
            },
        )]);
        let copy = table.ruleset_as(&Renamed {
            name: "other",
            dormant: true,
            counts: &counts,
        });
        assert!(
            !copy.contains(TABLE),
            "the copy must not change the table in force"
        );
        assert!(copy.contains("table inet other {\n\tflags dormant;\n"));
        assert!(copy.contains("agent-a { packets 3 bytes 180 }"));
    }

    #[test]
    fn broker_listens_on_loopback_or_not_at_all() {
        for good in ["off", "127.0.0.1:8554", "[::1]:1"] {
            assert!(good.parse::<BrokerListen>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "8554",
            "0.0.0.0:8554",
            "192.0.2.1:1",
            "127.0.0.1:8554 }",
            "localhost:1",
        ] {
            assert!(bad.parse::<BrokerListen>().is_err(), "{bad}");
        }
    }

    /// Returns whether nft would parse the line of definitions as exactly one of the intended statements.
    fn is_plain(line: &str) -> bool {
        let number = |word: &str| word.parse::<u64>().is_ok();
        let name = |word: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            !word.is_empty() && word.bytes().all(plain)
        };
        let quoted = |word: &str| {
            let inner = word
                .strip_prefix('"')
                .and_then(|word| word.strip_suffix('"'));
            inner.is_some_and(name)
        };
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["add", "counter", "inet", "ephyr", counter] => {
                counter.strip_prefix("agent-").is_some_and(name)
            }
            [
                "add",
                "element",
                "inet",
                "ephyr",
                "agents",
                "{",
                uid,
                "comment",
                agent,
                "}",
            ] => number(uid) && quoted(agent),
            [
                "add",
                "element",
                "inet",
                "ephyr",
                "rejected",
                "{",
                uid,
                ":",
                counter,
                "}",
            ] => number(uid) && quoted(counter),
            [
                "add",
                "element",
                "inet",
                "ephyr",
                "reachable4" | "reachable6",
                "{",
                uid,
                ".",
                net,
                ".",
                port,
                "comment",
                agent,
                "}",
            ] => number(uid) && net.parse::<IpNet>().is_ok() && number(port) && quoted(agent),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn policy_text_cannot_inject_nft_statements(
            name in "[A-Za-z0-9 .;{}\"'#\\\\$\n-]{1,12}",
            cidr in "([0-9./:;{} a-f]{1,14}|10\\.0\\.0\\.0/8)",
            description in "[ -~]{0,20}",
        ) {
            let quote = |text: &str| serde_json::to_string(text).unwrap();
            let policy = format!(
                "agents:\n  {}:\n    uid: 1500\n    description: {}\n    egress: [{{cidr: {}, port: 443}}]\n",
                quote(&name), quote(&description), quote(&cidr),
            );
            if let Ok(policy) = load(policy.as_bytes(), "p") {
                let broker = "127.0.0.1:8554".parse().unwrap();
                let text = NftTable::new(&policy, broker).definitions();
                prop_assert_eq!(text.lines().count(), 4);
                for line in text.lines() {
                    prop_assert!(is_plain(line), "{}", line);
                }
            }
        }

        #[test]
        fn every_valid_agent_name_renders_plain_lines(name in "[A-Za-z0-9][A-Za-z0-9._-]{0,62}") {
            let quoted = serde_json::to_string(&name).unwrap();
            let text = table(&format!("  {quoted}:\n    uid: 4294967293\n    require_pop: true\n"), "127.0.0.1:1").definitions();
            prop_assert_eq!(text.lines().count(), 4);
            for line in text.lines() {
                prop_assert!(is_plain(line), "{}", line);
            }
        }
    }
}
