//! Answers OAuth requests. Ephyr has no OAuth, but MCP clients try it when they are refused for a missing
//! credential: they request metadata, then register, and show the answer. So the answer is an OAuth error (RFC
//! 6749 section 5.2, RFC 7591 section 3.2.2) that names the remedy.

use http::{Response, StatusCode};
use serde::Serialize;

use crate::response::{Body, json};

/// Not a code of RFC 6749: some of those make clients discard stored data or retry.
const CODE: &str = "oauth_not_supported";
const DESCRIPTION: &str = "Ephyr has no OAuth: configure the client to send the fixed header `Authorization: Bearer` \
    with the agent's API key (eph_…, from `ephyr keys new`) or a task token (mac_…); on the appliance use `ephyr mcp`, \
    which needs neither";

#[derive(Serialize)]
struct OAuthError {
    error: &'static str,
    error_description: &'static str,
}

/// Returns whether the path is one of OAuth: metadata (RFC 9728, RFC 8414, OpenID Connect Discovery; with the
/// resource's path after or before it), registration, authorization or tokens.
pub(super) fn asks(path: &str) -> bool {
    const ENDPOINTS: [&str; 5] = [
        "/register",
        "/authorize",
        "/token",
        "/revoke",
        "/introspect",
    ];
    const METADATA: [&str; 3] = [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ];
    let path = path
        .strip_prefix("/mcp")
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(path);
    let is_below = |known: &&str| {
        path.strip_prefix(*known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    ENDPOINTS.contains(&path) || METADATA.iter().any(is_below)
}

/// Returns 404, so that clients stop looking for metadata.
pub(super) fn refusal() -> Response<Body> {
    let error = OAuthError {
        error: CODE,
        error_description: DESCRIPTION,
    };
    json(StatusCode::NOT_FOUND, &error)
}

#[cfg(test)]
mod tests {
    use super::asks;

    #[test]
    fn only_oauth_paths_are_recognised() {
        for path in [
            "/register",
            "/token",
            "/authorize",
            "/mcp/register",
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/mcp",
            "/.well-known/oauth-authorization-server",
            "/mcp/.well-known/openid-configuration",
        ] {
            assert!(asks(path), "{path}");
        }
        for path in [
            "/mcp",
            "/mcp/",
            "/registered",
            "/v1/token",
            "/.well-known/oauth-protected-resources",
            "/.well-known/security.txt",
        ] {
            assert!(!asks(path), "{path}");
        }
    }
}
