//! The tables of the policy: every section and key with its shape, default and meaning.

mod agents;
mod common;
mod hosts;
mod upstreams;

use self::agents::{AGENT, TEMPLATE};
use self::common::{DESCRIPTION, LIST_OF_CIDRS};
use self::hosts::{ROLE, TARGET};
use self::upstreams::{REMOTE, SERVICE};
use crate::format::Format;
use crate::shape::{Field, Record, Shape};

/// The policy file.
pub(crate) static POLICY: Record = Record {
    label: "the policy",
    fields: &[
        Field::new(
            "global",
            Shape::Record(&GLOBAL),
            "Limits and defaults for all agents.",
        ),
        Field::new(
            "agents",
            Shape::Map {
                key: Format::Agent,
                value: &Shape::Record(&AGENT),
            },
            "AI agents that may use the broker.",
        )
        .required(),
        Field::new(
            "templates",
            Shape::Map {
                key: Format::Template,
                value: &Shape::Record(&TEMPLATE),
            },
            "Agent settings to inherit.",
        ),
        Field::new(
            "roles",
            Shape::Map {
                key: Format::Role,
                value: &Shape::Record(&ROLE),
            },
            "Unix accounts on targets, with their rights.",
        ),
        Field::new(
            "targets",
            Shape::Map {
                key: Format::Target,
                value: &Shape::Record(&TARGET),
            },
            "SSH hosts.",
        ),
        Field::new(
            "services",
            Shape::Map {
                key: Format::Service,
                value: &Shape::Record(&SERVICE),
            },
            "HTTP services behind the proxy.",
        ),
        Field::new(
            "remotes",
            Shape::Map {
                key: Format::Remote,
                value: &Shape::Record(&REMOTE),
            },
            "Remote MCP servers.",
        ),
        Field::new(
            "network",
            Shape::Record(&NETWORK),
            "Where the HTTP proxy may connect to.",
        ),
        Field::new(
            "admins",
            Shape::Map {
                key: Format::Agent,
                value: &Shape::Record(&ADMIN),
            },
            "People who approve and operate.",
        ),
        Field::new("signer", Shape::Record(&SIGNER), "Limits of the signer."),
        Field::new(
            "sandbox",
            Shape::Record(&SANDBOX),
            "Kernel features that the daemons require.",
        ),
    ],
    retired: &[],
};

/// Section `global`.
pub(crate) static GLOBAL: Record = Record {
    label: "global",
    fields: &[
        Field::new(
            "max_active_certs",
            Shape::Int {
                min: 1,
                max: 100_000,
            },
            "Maximum number of active certificates of all agents together.",
        )
        .default("10"),
        Field::new(
            "default_ttl",
            Shape::Text(Format::CertTtl),
            "A certificate's lifetime if the request names none.",
        )
        .default("5m"),
        Field::new(
            "max_ttl",
            Shape::Text(Format::CertTtl),
            "A certificate's maximum lifetime; at most 24h.",
        )
        .default("30m"),
        Field::new(
            "rate_limit",
            Shape::Text(Format::Rate),
            "Maximum rate of requests of one agent at the broker.",
        )
        .default("not limited"),
        Field::new(
            "host_key_strict",
            Shape::Bool,
            "Whether a target without a pinned host key is refused.",
        )
        .default("true"),
    ],
    retired: &[],
};

/// Section `network`.
pub(crate) static NETWORK: Record = Record {
    label: "network",
    fields: &[
        Field::new(
            "allow_cidrs",
            LIST_OF_CIDRS,
            "Private addresses that are allowed.",
        )
        .default("RFC 1918"),
        Field::new(
            "deny_cidrs",
            LIST_OF_CIDRS,
            "Addresses that are never allowed; checked first.",
        )
        .default("none"),
        Field::new(
            "external",
            Shape::Choice(&["deny", "restricted", "open"]),
            "Rule for all other addresses.",
        )
        .default("deny"),
        Field::new(
            "external_allow",
            Shape::List {
                of: &Shape::Text(Format::HostPattern),
                empty: true,
            },
            "Host names that `external: restricted` allows; `*.` stands for any subdomain.",
        )
        .default("none"),
    ],
    retired: &[],
};

/// An entry of `admins`.
pub(crate) static ADMIN: Record = Record {
    label: "an admin",
    fields: &[
        DESCRIPTION,
        Field::new(
            "uid",
            Shape::Int {
                min: 0,
                max: u32::MAX,
            },
            "Its Unix user on the appliance.",
        ),
        Field::new(
            "ssh_keys",
            Shape::List {
                of: &Shape::Text(Format::AdminKey),
                empty: false,
            },
            "Ed25519 keys whose signatures approve.",
        ),
        Field::new(
            "level",
            Shape::Choice(&["viewer", "operator", "admin"]),
            "Its access level.",
        )
        .default("admin"),
    ],
    retired: &[],
};

/// Section `signer`.
pub(crate) static SIGNER: Record = Record {
    label: "signer",
    fields: &[
        Field::new(
            "rate_limit",
            Shape::Text(Format::Rate),
            "Maximum rate of requests of one agent at the signer.",
        )
        .default("60/1m"),
        Field::new(
            "global_rate_limit",
            Shape::Text(Format::Rate),
            "Maximum rate of requests of all agents together at the signer.",
        )
        .default("600/1m"),
        Field::new(
            "delegation_ttl",
            Shape::Text(Format::DelegationTtl),
            "How long one delegation certificate lets the broker mint tokens; 1m to 24h.",
        )
        .default("1h"),
    ],
    retired: &[],
};

/// Section `sandbox`.
pub(crate) static SANDBOX: Record = Record {
    label: "sandbox",
    fields: &[Field::new(
        "minimum_abi",
        Shape::Int { min: 0, max: 10 },
        "Lowest Landlock ABI with which the daemons start; 0: no minimum.",
    )
    .default("0")],
    retired: &[],
};
