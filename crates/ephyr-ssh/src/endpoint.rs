//! The part of a permit that describes one connection. Connections are made from nothing else.

use ephyr_names::{Account, TargetName};
use ephyr_policy::{HostKey, Purpose, SshPermit};

/// The target's address, account and host key, and the command to run.
pub(crate) struct Endpoint {
    pub(crate) target: TargetName,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) account: Account,
    pub(crate) host_key: HostKey,
    /// The command of an `exec` permit.
    pub(crate) command: Option<String>,
}

impl From<&SshPermit> for Endpoint {
    fn from(permit: &SshPermit) -> Self {
        let target = permit.target();
        let command = match permit.purpose() {
            Purpose::Exec { command } => Some(command.clone()),
            Purpose::User => None,
        };
        Self {
            target: target.name().clone(),
            host: target.host().to_owned(),
            port: target.port(),
            account: target.account().clone(),
            host_key: target.host_key().clone(),
            command,
        }
    }
}

impl Endpoint {
    /// Returns `host:port`, with brackets around an IPv6 address.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}
