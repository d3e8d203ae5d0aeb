//! Host names and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::text::{TextFault, shorten};

/// Checks for a DNS name (RFC 1123 section 2.1) or the IP address of a single host, without brackets, port or zone.
pub(super) fn check(text: &str) -> Result<(), TextFault> {
    let fault = match text.parse::<IpAddr>() {
        Ok(address) => address_fault(address),
        Err(_) if is_dns_name(text) => None,
        Err(_) if has_zone(text) => Some(format!("has a zone. {LINK_LOCAL}")),
        Err(_) => Some(
            "is neither a host name nor an IP address; write the port under `port` and the user in the role"
                .to_owned(),
        ),
    };
    match fault {
        None => Ok(()),
        Some(fault) => Err(("E-HOST", format!("`{}` {fault}", shorten(text)))),
    }
}

/// Zones are not accepted either: interface names differ between appliances, and a renamed interface would lead to
/// another network.
const LINK_LOCAL: &str = "A link-local address means a different host on each interface; use a name or a \
                          routed address, such as a unique local one (fd00::/8)";

/// Returns why an address does not identify a single host.
fn address_fault(address: IpAddr) -> Option<String> {
    let flags = match address {
        IpAddr::V6(v6) => {
            if let Some(fault) = ipv6_form_fault(v6) {
                return Some(fault);
            }
            (v6.is_unspecified(), v6.is_multicast(), false)
        }
        IpAddr::V4(v4) if v4.is_link_local() => {
            return Some(format!("is link-local. {LINK_LOCAL}"));
        }
        IpAddr::V4(v4) => (v4.octets()[0] == 0, v4.is_multicast(), v4.is_broadcast()),
    };
    let kind = match flags {
        (true, ..) => "the unspecified address",
        (_, true, _) => "a multicast address",
        (.., true) => "the broadcast address",
        _ => return None,
    };
    Some(format!(
        "is {kind}, not the address of a single host; write the target's own address"
    ))
}

/// Returns why an IPv6 address of a special form is not accepted.
fn ipv6_form_fault(v6: Ipv6Addr) -> Option<String> {
    if let Some(v4) = v6.to_ipv4_mapped() {
        return Some(format!("is an IPv4-mapped IPv6 address; write {v4}"));
    }
    if v6.is_unicast_link_local() {
        return Some(format!("has no zone. {LINK_LOCAL}"));
    }
    let segments = v6.segments();
    // RFC 3879: a site-local address means a different host in each site.
    if segments[0] & 0xffc0 == 0xfec0 {
        let fault =
            "is a site-local address (deprecated by RFC 3879); use a unique local one (fd00::/8)";
        return Some(fault.to_owned());
    }
    let [.., a, b, c, d] = v6.octets();
    let v4 = Ipv4Addr::new(a, b, c, d);
    // RFC 4291 section 2.5.5.1; `::` and `::1` have the same prefix and are not IPv4-compatible.
    if segments[..6] == [0; 6] && !v6.is_unspecified() && !v6.is_loopback() {
        return Some(format!(
            "is an IPv4-compatible IPv6 address (deprecated by RFC 4291); write {v4}"
        ));
    }
    // RFC 6052 and RFC 8215. A prefix of RFC 8215 can hold the IPv4 address in other bits; its last 32 bits are zero
    // then.
    let translated = match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => true,
        [0x64, 0xff9b, 1, ..] => !v4.is_unspecified(),
        _ => false,
    };
    // For a loopback address, the translator would connect to itself.
    if translated && (v4.is_loopback() || address_fault(IpAddr::V4(v4)).is_some()) {
        return Some(format!(
            "is the NAT64 form of {v4}, which is not the address of a single host; write the target's own address"
        ));
    }
    None
}

fn has_zone(text: &str) -> bool {
    text.split_once('%')
        .is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok())
}

/// Checks for a DNS name, optionally after `*.`.
pub(super) fn check_pattern(text: &str) -> Result<(), TextFault> {
    if is_dns_name(text.strip_prefix("*.").unwrap_or(text)) {
        return Ok(());
    }
    let message = format!(
        "`{}` is not a host name; `*` is allowed only as the whole first label, as in *.example.org",
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
    // Most resolvers would parse a name whose last label is numeric as an IPv4 address.
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(label) && !numeric(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_and_addresses_are_accepted() {
        for good in [
            "web",
            "web-1.example.org",
            "10.0.0.1",
            "2001:db8::1",
            "a_b",
            "localhost",
            "127.0.0.1",
            "::1",
            "169.253.255.255",
            "169.255.0.0",
            "fd00::7",
            "::ffff:0:a00:1",
            "64:ff9b::cb00:7107",
            "64:ff9b:1:cb00:71:700::",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn texts_that_are_not_a_host_are_refused() {
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
    fn addresses_of_no_single_host_are_refused_with_the_reason() {
        for (bad, reason) in [
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fe80::1%eth0", "link-local"),
            ("::ffff:10.0.0.1", "write 10.0.0.1"),
            ("::ffff:a00:1", "write 10.0.0.1"),
            ("169.254.0.0", "link-local"),
            ("169.254.1.1", "link-local"),
            ("169.254.169.254", "link-local"),
            ("fec0::1", "site-local"),
            ("feff::1", "site-local"),
            ("::127.0.0.1", "write 127.0.0.1"),
            ("::2", "write 0.0.0.2"),
            ("64:ff9b::7f00:1", "NAT64 form of 127.0.0.1"),
            ("64:ff9b::a9fe:a9fe", "NAT64 form of 169.254.169.254"),
            ("64:ff9b::", "NAT64 form of 0.0.0.0"),
            ("64:ff9b::e000:1", "NAT64 form of 224.0.0.1"),
            ("64:ff9b:1::7f00:1", "NAT64 form of 127.0.0.1"),
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("::", "unspecified"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("255.255.255.255", "broadcast"),
        ] {
            let (code, message) = check(bad).unwrap_err();
            assert_eq!(code, "E-HOST");
            assert!(message.contains(reason), "{bad}: {message}");
        }
    }

    #[test]
    fn star_is_accepted_only_as_the_first_label() {
        assert!(check_pattern("*.example.org").is_ok());
        assert!(check_pattern("example.org").is_ok());
        for bad in ["*", "*.", "a*.example.org", "*.*.org", "**.org", "10.*", ""] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
    }
}
