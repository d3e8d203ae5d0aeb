//! URLs, paths and field names of HTTP messages.

use super::host;
use crate::text::{TextFault, shorten};

/// Checks for an `http` or `https` URL with a host and a normalised path, without user, query and fragment.
pub(super) fn check(text: &str) -> Result<(), TextFault> {
    let bad = |why: &str| Err(("E-URL", format!("`{}` {why}", shorten(text))));
    let Some(rest) = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
    else {
        return bad("does not begin with https:// or http://");
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if authority.contains('@') || text.contains(['?', '#']) {
        // These parts may be secret, so the message does not quote the text.
        let message = "a URL must not contain a user, a password, a query or a fragment; store secrets as a \
                       `credential`";
        return Err(("E-URL-SECRET", message.into()));
    }
    let (name, port) = split_port(authority);
    if !is_host(name) {
        return bad("has no valid host");
    }
    if port.is_some_and(|p| !is_port(p)) {
        return bad("has a port outside 1 to 65535");
    }
    if !path.is_empty() && !is_normal_path(path) {
        return bad("has a path with `..`, `.`, `//`, `%`, a backslash or a space");
    }
    Ok(())
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    let after_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[after_brackets..].rfind(':') {
        Some(at) => {
            let at = after_brackets + at;
            (&authority[..at], Some(&authority[at + 1..]))
        }
        None => (authority, None),
    }
}

fn is_port(text: &str) -> bool {
    let digits = text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    digits && text.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_host(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.parse::<std::net::Ipv4Addr>().is_ok() || host::is_dns_name(name),
    }
}

/// Returns whether a path is absolute and unchanged by normalisation.
fn is_normal_path(path: &str) -> bool {
    let allowed = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'/' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')'
            )
            || matches!(b, b'+' | b',' | b';' | b'=' | b':' | b'@')
    };
    let body = path.strip_prefix('/');
    let body = body.map(|body| body.strip_suffix('/').unwrap_or(body));
    path.bytes().all(allowed)
        && body.is_some_and(|body| {
            body.is_empty() || body.split('/').all(|part| !matches!(part, "" | "." | ".."))
        })
}

/// Checks for a path in which `*` may stand for one segment and a final `/**` for everything below.
pub(super) fn check_path(text: &str) -> Result<(), TextFault> {
    let body = text.strip_suffix("/**").unwrap_or(text);
    let whole_segments = body
        .split('/')
        .all(|part| part == "*" || !part.contains('*'));
    let plain = body.replace('*', "x");
    if (body.is_empty() && text == "/**") || (whole_segments && is_normal_path(&plain)) {
        return Ok(());
    }
    let message = format!(
        "`{}` is not a path such as /api/v1/*/status or /api/**; `*` stands for one whole segment",
        shorten(text)
    );
    Err(("E-PATH-PATTERN", message))
}

/// Checks the name of a header that carries a credential: letters, digits and `-`, a subset of RFC 9110 section 5.1.
pub(super) fn check_header(text: &str) -> Result<(), TextFault> {
    const RESERVED: [&str; 8] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
    ];
    let formed = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !formed {
        let message = format!("`{}` is not a header name such as X-Api-Key", shorten(text));
        return Err(("E-HEADER", message));
    }
    if RESERVED.contains(&text.to_ascii_lowercase().as_str()) {
        let message = format!(
            "`{text}` frames the message and cannot carry a credential; use another header"
        );
        return Err(("E-HEADER-RESERVED", message));
    }
    Ok(())
}

/// Checks the name of a query parameter that carries a credential.
pub(super) fn check_parameter(text: &str) -> Result<(), TextFault> {
    let formed = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if formed {
        return Ok(());
    }
    let message = format!(
        "`{}` is not a parameter name such as api_key",
        shorten(text)
    );
    Err(("E-PARAMETER", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_urls_are_accepted() {
        for good in [
            "https://api.example.org",
            "https://api.example.org/",
            "http://10.0.0.5:3000/api/v1",
            "https://[2001:db8::1]:8443/x/",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn ambiguous_urls_are_refused() {
        for (bad, code) in [
            ("ftp://x", "E-URL"),
            ("https://", "E-URL"),
            ("https:///x", "E-URL"),
            ("https://gitea:3000:x@10.0.0.66/", "E-URL-SECRET"),
            ("https://x/?token=1", "E-URL-SECRET"),
            ("https://x/#a", "E-URL-SECRET"),
            ("https://x/a/../b", "E-URL"),
            ("https://x//b", "E-URL"),
            ("https://x/%2e%2e/b", "E-URL"),
            ("https://x\\y", "E-URL"),
            ("https://x:0/", "E-URL"),
            ("https://x:65536/", "E-URL"),
            ("https://x:/", "E-URL"),
            ("https://x:+80/", "E-URL"),
            ("https://0x7f.1/", "E-URL"),
            ("https://x /", "E-URL"),
        ] {
            assert_eq!(check(bad).map_err(|(code, _)| code), Err(code), "{bad}");
        }
    }

    #[test]
    fn star_in_a_path_is_a_whole_segment() {
        for good in ["/", "/api", "/api/*/status", "/api/**", "/**"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "", "api", "/a*", "/**/x", "/../x", "/a//b", "/a?b", "**", "/api/***",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn framing_headers_cannot_carry_a_credential() {
        assert!(check_header("X-Api-Key").is_ok());
        for bad in ["", "X Key", "Host", "content-length", "x:y", "é"] {
            assert!(check_header(bad).is_err(), "{bad}");
        }
    }
}
