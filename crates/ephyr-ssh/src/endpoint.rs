//! What a permit says about one connection. There is no other way to say where to connect.

use ephyr_names::{Account, TargetName};
use ephyr_policy::{HostKey, Purpose, SshPermit};

/// Where to connect, as whom, to whose host key, and what to run there.
pub(crate) struct Endpoint {
    pub(crate) target: TargetName,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) account: Account,
    pub(crate) host_key: HostKey,
    /// Returns the command of an `exec` permit.
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
    /// Host and port as one text.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}
