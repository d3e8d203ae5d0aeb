//! Configured web origins, parsed once into the form that browsers send.

use std::fmt;
use std::str::FromStr;

/// A web origin, `scheme://host` or `scheme://host:port`, as browsers serialise it (RFC 6454, 6.2): in lower
/// case, without the scheme's default port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

/// Why a text is not a web origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a web origin: {0}; write it as browsers send it, such as https://console.example or http://localhost:3000"
)]
pub struct OriginError(&'static str);

impl Origin {
    /// Returns the origin as in an `Origin` header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        match text {
            "" => return Err(OriginError("it is empty")),
            // Every sandboxed frame and every file sends `null`, so it does not identify a page.
            "null" => return Err(OriginError("null matches pages of any origin")),
            "*" => return Err(OriginError("* is not allowed; name each origin")),
            _ => {}
        }
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text
            .split_once("://")
            .ok_or(OriginError("the scheme (https://) is missing"))?;
        if !is_scheme(scheme) {
            return Err(OriginError("its scheme is malformed"));
        }
        if authority.contains(['/', '?', '#']) {
            return Err(OriginError("an origin has no path and no trailing slash"));
        }
        let (host, port) = split_port(authority)?;
        if !is_host(host) {
            return Err(OriginError(
                "its host is malformed (write non-ASCII names in punycode, xn--…)",
            ));
        }
        let is_default = matches!((scheme, port), ("http", Some(80)) | ("https", Some(443)));
        Ok(Self(match port.filter(|_| !is_default) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), OriginError> {
    let from = authority.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = authority[from..].find(':').map(|at| from + at) else {
        return Ok((authority, None));
    };
    let port = &authority[colon + 1..];
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if is_number => Ok((&authority[..colon], Some(port))),
        _ => Err(OriginError("its port is not a number up to 65535")),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_normalised_to_the_form_that_browsers_send() {
        for (text, origin) in [
            ("https://console.example", "https://console.example"),
            ("HTTP://LocalHost:3000", "http://localhost:3000"),
            ("https://console.example:443", "https://console.example"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://[::1]:8554", "http://[::1]:8554"),
            ("https://console.example:80", "https://console.example:80"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().as_str(), origin);
        }
    }

    #[test]
    fn text_that_is_not_an_origin_is_rejected() {
        for text in [
            "",
            "*",
            "null",
            "console.example",
            "https://",
            "https://console.example/",
            "https://console.example/app",
            "https://*.example",
            "https://user@console.example",
            "https://console.example:",
            "https://console.example:+1",
            "https://console.example:65536",
            "https://[::1",
            "https://[localhost]",
            "https://münchen.example",
            "https://a.example,https://b.example",
            " https://console.example",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text:?}");
        }
    }
}
