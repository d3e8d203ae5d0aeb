//! HTTP services, remote MCP servers and the destinations that connections to them may reach.

use std::collections::BTreeSet;

use ephyr_names::{Method, RemoteName, ServiceName, Ttl};
use ipnet::IpNet;

/// An HTTP service behind the proxy.
#[derive(Debug, Clone)]
pub struct Service {
    /// The service's name.
    pub name: ServiceName,
    /// Scheme, host, port and path with which every request begins.
    pub url_prefix: String,
    /// How the broker authenticates to the service.
    pub auth: Auth,
    /// Paths that may be requested, with `*` for one segment and a final `/**`; empty: all below the prefix.
    pub allowed_paths: Vec<String>,
    /// Methods that any agent may use; empty: as granted.
    pub allowed_methods: BTreeSet<Method>,
    /// Maximum size of a response, in KiB.
    pub max_response_kb: u32,
    /// Maximum wait for a response.
    pub timeout: Ttl,
    /// Free text for operators.
    pub description: String,
    /// Whether the policy enables the service.
    pub enabled: bool,
}

impl Service {
    /// Returns whether this path, relative to the prefix and without query, may be requested.
    ///
    /// An ambiguous path is refused whatever the policy allows: one without a leading `/`, with an empty, `.` or `..`
    /// segment, with a backslash, a `?` or a `#`, or with a percent-encoded `/`, `\\` or `.` (RFC 3986 sections 3.3
    /// and 6.2.2).
    #[must_use]
    pub fn allows_path(&self, path: &str) -> bool {
        let Some(body) = path.strip_prefix('/') else {
            return false;
        };
        let segments: Vec<&str> = body.split('/').collect();
        let last = segments.len() - 1;
        let is_plain = |(at, segment): (usize, &&str)| {
            let lower = segment.to_ascii_lowercase();
            !matches!(*segment, "." | "..")
                && (at == last || !segment.is_empty())
                && !segment.contains(['\\', '?', '#'])
                && !["%2f", "%5c", "%2e"]
                    .iter()
                    .any(|code| lower.contains(code))
        };
        segments.iter().enumerate().all(is_plain)
            && (self.allowed_paths.is_empty()
                || self
                    .allowed_paths
                    .iter()
                    .any(|pattern| matches_path(pattern, path)))
    }
}

/// Returns whether a path matches a pattern: `*` stands for one nonempty segment, a final `/**` for everything below.
fn matches_path(pattern: &str, path: &str) -> bool {
    let (pattern, is_prefix) = match pattern.strip_suffix("/**") {
        Some(prefix) => (prefix, true),
        None => (pattern, false),
    };
    let mut segments = path.split('/');
    let fits = pattern.split('/').all(|wanted| {
        segments.next().is_some_and(|segment| match wanted {
            "*" => !segment.is_empty(),
            _ => segment == wanted,
        })
    });
    let rest = segments.next();
    fits && rest.is_some() == is_prefix
}

/// A remote MCP server.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The remote's name; its tools are called `name.tool`.
    pub name: RemoteName,
    /// The MCP endpoint.
    pub url: String,
    /// How the broker authenticates to the remote.
    pub auth: Auth,
    /// Maximum size of a response, in KiB.
    pub max_response_kb: u32,
    /// Maximum wait for a response.
    pub timeout: Ttl,
    /// Interval at which the tool list is refreshed.
    pub refresh: Ttl,
    /// Free text for operators.
    pub description: String,
    /// Whether the policy enables the remote.
    pub enabled: bool,
}

/// How the broker authenticates to an upstream. The policy names credentials and never contains them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// No authentication.
    None,
    /// `Authorization: Bearer <credential>`.
    Bearer {
        /// The credential's name.
        credential: String,
    },
    /// `Authorization: Basic` with the credential as password.
    Basic {
        /// The user name.
        username: String,
        /// The credential's name.
        credential: String,
    },
    /// A header with the credential as value.
    Header {
        /// The header's name.
        header: String,
        /// The credential's name.
        credential: String,
    },
    /// A query parameter with the credential as value.
    Query {
        /// The parameter's name.
        parameter: String,
        /// The credential's name.
        credential: String,
    },
}

/// Destinations that the HTTP proxy may connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Private addresses that are allowed; empty: all of RFC 1918.
    pub allow_cidrs: Vec<IpNet>,
    /// Addresses that are never allowed; checked first.
    pub deny_cidrs: Vec<IpNet>,
    /// The rule for all other addresses.
    pub external: External,
}

/// The rule for addresses in neither list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum External {
    /// All are denied.
    Deny,
    /// Only these host names are allowed; `*.` stands for any subdomain.
    Restricted(Vec<String>),
    /// All are allowed.
    Open,
}

#[cfg(test)]
mod tests {
    use super::matches_path;

    #[test]
    fn path_patterns_match_whole_segments() {
        for (pattern, path) in [
            ("/api", "/api"),
            ("/api/*", "/api/x"),
            ("/api/*/status", "/api/x/status"),
            ("/api/**", "/api/"),
            ("/api/**", "/api/x/y"),
            ("/**", "/"),
            ("/**", "/x"),
        ] {
            assert!(matches_path(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/api", "/api/"),
            ("/api", "/apis"),
            ("/api/*", "/api/"),
            ("/api/*", "/api/x/y"),
            ("/api/**", "/api"),
            ("/api/**", "/apis/x"),
            ("/api/*/status", "/api/status"),
        ] {
            assert!(!matches_path(pattern, path), "{pattern} {path}");
        }
    }
}
