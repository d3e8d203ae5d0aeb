//! `ephyr host-key`: prints a host's keys for `host_key` in the policy. The keys come from an unauthenticated
//! connection, so the operator must compare the fingerprints with those on the host.

use std::io::{self, Write as _};
use std::process::{Command, ExitCode};

use serde_json::json;
use ssh_key::{HashAlg, PublicKey};

use crate::args::HostKey;
use crate::failure::{Failure, UNAVAILABLE};
use crate::output::Output;

pub(crate) fn run(args: &HostKey, output: &Output) -> Result<ExitCode, Failure> {
    let (host, port) = split(&args.host)?;
    let scanned = Command::new("ssh-keyscan")
        .args(["-T", "10", "-p", &port.to_string(), "--", host])
        .output()
        .map_err(|error| {
            let text = format!("ssh-keyscan cannot be run: {error}; install openssh-client");
            Failure::new(UNAVAILABLE, "no_keyscan", text)
        })?;
    let mut keys: Vec<PublicKey> = String::from_utf8_lossy(&scanned.stdout)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' ')?.1.parse().ok())
        .collect();
    if keys.is_empty() {
        let stderr = String::from_utf8_lossy(&scanned.stderr);
        let cause = stderr
            .lines()
            .rfind(|line| !line.starts_with('#'))
            .unwrap_or("no response")
            .to_owned();
        let text = format!("no host key from {host} port {port}: {cause}");
        return Err(Failure::new(UNAVAILABLE, "no_host_key", text));
    }
    // The key that OpenSSH prefers comes first.
    keys.sort_by_key(|key| (!key.algorithm().is_ed25519(), key.algorithm().to_string()));
    let lines: Vec<(String, String)> = keys
        .iter()
        .filter_map(|key| {
            Some((
                key.to_openssh().ok()?,
                key.fingerprint(HashAlg::Sha256).to_string(),
            ))
        })
        .collect();
    let list: Vec<_> = lines
        .iter()
        .map(|(key, print)| json!({"host_key": key, "fingerprint": print}))
        .collect();
    output.show(&json!({"host": host, "port": port, "keys": list}), || {
        let pins: String = lines
            .iter()
            .map(|(key, _)| format!("  - {key}\n"))
            .collect();
        format!("host_key:\n{pins}")
    })?;
    if !output.is_json() {
        let mut errors = io::stderr().lock();
        let _ = writeln!(
            errors,
            "compare these fingerprints with the host's before use (on the host: \
             ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub):"
        );
        for (_, fingerprint) in &lines {
            let _ = writeln!(errors, "  {fingerprint}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Parses `host`, `host:port`, `[address]:port`, or a bare IPv6 address.
fn split(text: &str) -> Result<(&str, u16), Failure> {
    let bad = || Failure::usage(format!("{text:?} is not HOST or HOST:PORT"));
    let port = |digits: &str| {
        digits
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(bad)
    };
    let (host, number) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(bad)?;
        match after.strip_prefix(':') {
            Some(digits) => (host, port(digits)?),
            None if after.is_empty() => (host, 22),
            None => return Err(bad()),
        }
    } else {
        match text.split_once(':') {
            Some((host, digits)) if !digits.contains(':') => (host, port(digits)?),
            _ => (text, 22),
        }
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if host.is_empty() || host.starts_with('-') || !host.chars().all(is_plain) {
        return Err(bad());
    }
    Ok((host, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_split() {
        let split = |text| split(text).map_err(|failure| failure.to_string());
        assert_eq!(split("web"), Ok(("web", 22)));
        assert_eq!(split("web:2222"), Ok(("web", 2222)));
        assert_eq!(split("2001:db8::1"), Ok(("2001:db8::1", 22)));
        assert_eq!(split("[2001:db8::1]:2222"), Ok(("2001:db8::1", 2222)));
        for bad in [
            "",
            "web:",
            "web:0",
            "web:99999",
            "-oProxyCommand=x",
            "a b",
            "[::1",
            "[::1]x",
        ] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
