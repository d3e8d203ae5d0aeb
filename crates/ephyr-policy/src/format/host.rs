//! Host names and addresses.

use std::net::IpAddr;

use super::{Wrong, shorten};

/// A DNS name (RFC 1123 section 2.1) or an IP address without brackets, port or zone.
pub(super) fn check(text: &str) -> Result<(), Wrong> {
    if text.parse::<IpAddr>().is_ok() || is_dns_name(text) {
        return Ok(());
    }
    let message = format!(
        "`{}` is neither a host name nor an IP address; a port goes under `port`, a user into the role",
        shorten(text)
    );
    Err(("E-HOST", message))
}

/// A DNS name, or `*.` and one.
pub(super) fn check_pattern(text: &str) -> Result<(), Wrong> {
    if is_dns_name(text.strip_prefix("*.").unwrap_or(text)) {
        return Ok(());
    }
    let message = format!(
        "`{}` is not a host name; `*` may stand only as the whole first label, as in *.example.org",
        shorten(text)
    );
    Err(("E-HOST-PATTERN", message))
}

pub(super) fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    // A last label of digits would be read as part of an IPv4 address by most resolvers.
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(label) && !numeric(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_hosts() {
        for good in [
            "web",
            "web-1.example.org",
            "10.0.0.1",
            "2001:db8::1",
            "a_b",
            "localhost",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_names_more_or_less_than_a_host_is_refused() {
        for bad in [
            "",
            "a b",
            "web:22",
            "[::1]",
            "fe80::1%eth0",
            "root@web",
            "-web",
            "web-",
            "a..b",
            "web.",
            "10.0.0.256",
            "1",
            "web/x",
            "-oProxyCommand=x",
            "wéb",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_only_for_the_first_label() {
        assert!(check_pattern("*.example.org").is_ok());
        assert!(check_pattern("example.org").is_ok());
        for bad in ["*", "*.", "a*.example.org", "*.*.org", "**.org", "10.*", ""] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
    }
}
