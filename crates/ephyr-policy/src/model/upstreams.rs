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

impl Service {
    /// Returns whether a request may ask for this path, which stands below the prefix and has no query.
    ///
    /// A path that an upstream could read in two ways is refused whatever the policy allows: one without a leading
    /// `/`, with an empty, `.` or `..` segment, with a backslash, a `?` or a `#`, or with one of `/`, `\\` and `.`
    /// percent-encoded (RFC 3986 sections 3.3 and 6.2.2).
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

/// Returns whether a path fits a pattern: `*` stands for one non-empty segment, a last `/**` for everything below.
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
