//! HTTP services and remote MCP servers, and where connections to them may go.

use std::collections::BTreeSet;

use ephyr_names::{Method, RemoteName, ServiceName, Ttl};
use ipnet::IpNet;

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
