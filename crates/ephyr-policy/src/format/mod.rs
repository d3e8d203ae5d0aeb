//! Formats of text in a policy, for the checker, the schema and the reference.

mod host;
mod key;
mod url;

use ephyr_names::{
    Account, AgentName, MAX_COMMAND_BYTES, Method, RemoteName, RoleName, ServiceName, TargetName,
    ToolName, Ttl,
};
use ephyr_token::MAX_DELEGATION;
use ipnet::IpNet;

use crate::rate::Rate;
use crate::text::{TextFault, shorten};
use crate::{commands, sudo};

/// A format of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Description,
    Agent,
    Template,
    Role,
    Target,
    TargetOrAny,
    Service,
    ServiceOrAny,
    Remote,
    RemoteOrAny,
    Method,
    MethodOrAny,
    ToolOrAny,
    Account,
    UserName,
    CertTtl,
    Timeout,
    Refresh,
    DelegationTtl,
    Rate,
    Host,
    HostPattern,
    Cidr,
    HostKey,
    AdminKey,
    Fingerprint,
    Bcrypt,
    Credential,
    AbsolutePath,
    SudoCommand,
    CommandPattern,
    ForcedCommand,
    Url,
    PathPattern,
    Header,
    Parameter,
}

/// Stands for everything that is not named.
pub(crate) const ANY: &str = "*";

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 3600;

impl Format {
    /// Checks that the text has the format.
    pub(crate) fn check(self, text: &str) -> Result<(), TextFault> {
        match self {
            Self::Description => line(text, 1000, false),
            Self::Agent => name::<AgentName>(text),
            Self::Template | Self::Role => name::<RoleName>(text),
            Self::Target => name::<TargetName>(text),
            Self::Service => name::<ServiceName>(text),
            Self::Remote => name::<RemoteName>(text),
            Self::Method => method(text),
            Self::TargetOrAny | Self::ServiceOrAny | Self::RemoteOrAny | Self::MethodOrAny
                if text == ANY =>
            {
                Ok(())
            }
            Self::ToolOrAny if text == ANY => Ok(()),
            Self::TargetOrAny => name::<TargetName>(text),
            Self::ServiceOrAny => name::<ServiceName>(text),
            Self::RemoteOrAny => name::<RemoteName>(text),
            Self::MethodOrAny => method(text),
            Self::ToolOrAny => name::<ToolName>(text),
            Self::Account => text
                .parse::<Account>()
                .map(drop)
                .map_err(|e| ("E-ACCOUNT", e.to_string())),
            Self::UserName => line(text, 128, true),
            Self::CertTtl => duration(text, 1, DAY),
            Self::Timeout => duration(text, 1, 2 * MINUTE),
            Self::Refresh => duration(text, 10, DAY),
            Self::DelegationTtl => duration(text, MINUTE, MAX_DELEGATION.as_secs()),
            Self::Rate => parse_rate(text).map(drop),
            Self::Host => host::check(text),
            Self::HostPattern => host::check_pattern(text),
            Self::Cidr => parse_cidr(text).map(drop),
            Self::HostKey => key::check_host_key(text).map_err(|e| ("E-HOST-KEY", e)),
            Self::AdminKey => key::parse(text).map(drop).map_err(|e| ("E-ADMIN-KEY", e)),
            Self::Fingerprint => parse_fingerprint(text).map(drop),
            Self::Bcrypt => key::check_bcrypt(text),
            Self::Credential => credential(text),
            Self::AbsolutePath => absolute_path(text),
            Self::SudoCommand => sudo::check(text),
            Self::CommandPattern => commands::check(text).map_err(|e| ("E-COMMAND-PATTERN", e)),
            Self::ForcedCommand => line(text, MAX_COMMAND_BYTES, true),
            Self::Url => url::check(text),
            Self::PathPattern => url::check_path(text),
            Self::Header => url::check_header(text),
            Self::Parameter => url::check_parameter(text),
        }
    }

    /// Returns a regular expression (ECMA 262) that every valid text matches; it may match others too.
    pub(crate) fn pattern(self) -> Option<&'static str> {
        Some(match self {
            Self::Description => r"^[^\u0000-\u001f\u007f]{0,1000}$",
            Self::Agent | Self::Template | Self::Role | Self::Target | Self::Service => {
                r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
            }
            Self::TargetOrAny | Self::ServiceOrAny => r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,62})$",
            Self::Remote => r"^[A-Za-z0-9][A-Za-z0-9-]{0,49}$",
            Self::RemoteOrAny => r"^(\*|[A-Za-z0-9][A-Za-z0-9-]{0,49})$",
            Self::Method => r"^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$",
            Self::MethodOrAny => r"^(\*|GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$",
            Self::ToolOrAny => r"^(\*|[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})$",
            Self::Account => r"^[a-z_][a-z0-9_-]{0,31}$",
            Self::CertTtl | Self::Timeout | Self::Refresh | Self::DelegationTtl => {
                r"^(?=.)([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?$"
            }
            Self::Rate => r"^[1-9][0-9]{0,6}/(?=.)([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?$",
            Self::HostKey | Self::AdminKey => r"^ssh-ed25519 [A-Za-z0-9+/=]+( .*)?$",
            Self::Fingerprint => r"^SHA256:[A-Za-z0-9+/]{43}$",
            Self::Bcrypt => r"^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$",
            Self::Credential => r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
            Self::AbsolutePath => r"^/[A-Za-z0-9._/+-]{0,255}$",
            Self::Header => r"^[A-Za-z0-9-]{1,64}$",
            Self::Parameter => r"^[A-Za-z0-9_.-]{1,64}$",
            Self::Url => r"^https?://[^@?#\s]+$",
            _ => return None,
        })
    }

    pub(crate) fn is_duration(self) -> bool {
        matches!(
            self,
            Self::CertTtl | Self::Timeout | Self::Refresh | Self::DelegationTtl
        )
    }

    /// Returns whether the value may be a secret by mistake, so that messages must not quote it.
    pub(crate) fn may_be_secret(self) -> bool {
        matches!(self, Self::Bcrypt | Self::Credential)
    }

    /// Returns the name of the format, for messages and the reference.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Description | Self::UserName => "text",
            Self::Agent => "agent",
            Self::Template => "template",
            Self::Role => "role",
            Self::Target => "target",
            Self::TargetOrAny => "target or `\"*\"`",
            Self::Service => "service",
            Self::ServiceOrAny => "service or `\"*\"`",
            Self::Remote => "remote",
            Self::RemoteOrAny => "remote or `\"*\"`",
            Self::Method => "HTTP method",
            Self::MethodOrAny => "HTTP method or `\"*\"`",
            Self::ToolOrAny => "tool or `\"*\"`",
            Self::Account => "Unix account",
            Self::CertTtl | Self::Timeout | Self::Refresh | Self::DelegationTtl => {
                "duration such as `5m`"
            }
            Self::Rate => "rate such as `60/1m`",
            Self::Host => "host name or address",
            Self::HostPattern => "host name, or `*.` and one",
            Self::Cidr => "network such as `10.0.0.0/8`",
            Self::HostKey | Self::AdminKey => "`ssh-ed25519 …` public key",
            Self::Fingerprint => "`SHA256:…`",
            Self::Bcrypt => "bcrypt hash",
            Self::Credential => "name of a credential",
            Self::AbsolutePath => "absolute path",
            Self::SudoCommand => "command with an absolute path",
            Self::CommandPattern => "command, or words and ` *`",
            Self::ForcedCommand => "command",
            Self::Url => "URL",
            Self::PathPattern => "path",
            Self::Header => "name of a header",
            Self::Parameter => "name of a parameter",
        }
    }
}

pub use key::check_point;
pub(crate) use key::{bcrypt_cost, parse as parse_key, parse_fingerprint};

fn name<T: std::str::FromStr<Err = ephyr_names::NameError>>(text: &str) -> Result<(), TextFault> {
    text.parse::<T>()
        .map(drop)
        .map_err(|e| ("E-NAME", e.to_string()))
}

/// Checks that a text is one line of at most `max` characters without control characters.
fn line(text: &str, max: usize, needed: bool) -> Result<(), TextFault> {
    if needed && text.trim().is_empty() {
        return Err(("E-TEXT", "must not be empty; remove the key".into()));
    }
    if text.chars().count() > max {
        return Err(("E-TEXT", format!("at most {max} characters are allowed")));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(found) => Err((
            "E-TEXT",
            format!("must be one line without control characters, but has {found:?}"),
        )),
        None => Ok(()),
    }
}

fn method(text: &str) -> Result<(), TextFault> {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if KNOWN.contains(&text) && text.parse::<Method>().is_ok() {
        return Ok(());
    }
    Err((
        "E-CHOICE",
        format!("`{}` is not one of {}", shorten(text), KNOWN.join(", ")),
    ))
}

/// Checks that a text is a duration within these bounds, in seconds.
fn duration(text: &str, min: u64, max: u64) -> Result<(), TextFault> {
    let ttl: Ttl = text
        .parse()
        .map_err(|e: ephyr_names::TtlError| ("E-DURATION", e.to_string()))?;
    if (min..=max).contains(&ttl.as_secs()) {
        return Ok(());
    }
    let message = format!(
        "{ttl} is out of bounds; write {} to {}",
        Ttl::from_secs(min),
        Ttl::from_secs(max)
    );
    Err(("E-DURATION-RANGE", message))
}

/// Parses a rate such as `60/60s`.
pub(crate) fn parse_rate(text: &str) -> Result<Rate, TextFault> {
    let malformed = || {
        let message = format!(
            "`{}` is not a rate; write count/window as in 60/60s",
            shorten(text)
        );
        ("E-RATE", message)
    };
    let (count, window) = text.split_once('/').ok_or_else(malformed)?;
    let digits = !count.is_empty() && count.len() <= 7 && count.bytes().all(|b| b.is_ascii_digit());
    if !digits || count.starts_with('0') {
        return Err(malformed());
    }
    let count: u32 = count.parse().map_err(|_| malformed())?;
    let window: Ttl = window.parse().map_err(|_| malformed())?;
    if count > 1_000_000 || !(1..=3600).contains(&window.as_secs()) {
        let message = "write 1 to 1000000 requests in a window of 1s to 1h";
        return Err(("E-RATE-RANGE", message.into()));
    }
    Ok(Rate { count, window })
}

/// Parses a network whose host bits are zero.
pub(crate) fn parse_cidr(text: &str) -> Result<IpNet, TextFault> {
    let net: IpNet = text.parse().map_err(|_| {
        let message = format!(
            "`{}` is not a network; write address/length as in 10.0.0.0/8 or 2001:db8::/32",
            shorten(text)
        );
        ("E-CIDR", message)
    })?;
    if net.trunc() != net {
        let message = format!("{net} has host bits set; write {}", net.trunc());
        return Err(("E-CIDR-HOST-BITS", message));
    }
    Ok(net)
}

fn credential(text: &str) -> Result<(), TextFault> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    let first = bytes.first().is_some_and(|b| word(*b));
    if first && bytes.len() <= 128 && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-')) {
        return Ok(());
    }
    // The text may be the secret itself, so the message does not quote it.
    let message = "not a credential's name (letters, digits, `_`, `.`, `-`); do not write the secret itself \
                   here";
    Err(("E-CREDENTIAL-NAME", message.into()))
}

fn absolute_path(text: &str) -> Result<(), TextFault> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'+' | b'-');
    let up = text.split('/').any(|part| part == "..");
    if text.starts_with('/') && text.len() <= 256 && text.bytes().all(plain) && !up {
        return Ok(());
    }
    let message = format!(
        "`{}` is not an absolute path of letters, digits and ._/+-",
        shorten(text)
    );
    Err(("E-PATH", message))
}
