//! What an agent may look at: targets and certificates. Both are cut down to what the caller may use.

use ephyr_mcp::{ToolError, ToolOutput};
use ephyr_names::{RoleName, Serial, TargetName, Timestamp};
use ephyr_policy::{CertificateKind, Reachable, reachable};
use serde::Serialize;

use crate::broker::Broker;
use crate::clock;
use ephyr_core::caller::AgentCaller;
use ephyr_core::gate::Issued;

#[derive(Serialize)]
pub(crate) struct Targets<'a> {
    targets: Vec<TargetView<'a>>,
}

#[derive(Serialize)]
struct TargetView<'a> {
    name: &'a TargetName,
    host: &'a str,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<u16>,
    roles: Vec<&'a RoleName>,
    description: &'a str,
    enabled: bool,
}

impl<'a> Targets<'a> {
    /// The targets that a caller may use.
    pub(crate) fn of(reachable: &'a [Reachable<'a>]) -> Self {
        let view = |found: &'a Reachable<'a>| TargetView {
            name: &found.target.name,
            host: &found.target.host,
            port: found.target.port,
            vlan: found.target.vlan,
            roles: found.roles.iter().map(|role| &role.name).collect(),
            description: &found.target.description,
            enabled: found.enabled,
        };
        Self {
            targets: reachable.iter().map(view).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Certificates {
    certs: Vec<CertificateView>,
}

#[derive(Serialize)]
struct CertificateView {
    serial: Serial,
    target: TargetName,
    role: RoleName,
    principal: String,
    kind: CertificateKind,
    expires_at: Timestamp,
}

impl Certificates {
    /// The certificates that a caller has out; with a token those of its task and below.
    pub(crate) fn of(broker: &Broker, caller: &AgentCaller) -> Self {
        let issued = broker
            .gate()
            .certificates(caller.agent(), caller.task(), clock::now());
        Self {
            certs: issued.into_iter().map(CertificateView::from).collect(),
        }
    }
}

impl From<Issued> for CertificateView {
    fn from(issued: Issued) -> Self {
        Self {
            serial: issued.serial,
            principal: format!("{}/{}", issued.entry.target, issued.entry.role),
            target: issued.entry.target,
            role: issued.entry.role,
            kind: issued.entry.kind,
            expires_at: issued.expires,
        }
    }
}

/// `list_targets`.
pub(super) fn list_targets(broker: &Broker, caller: &AgentCaller) -> Result<ToolOutput, ToolError> {
    let policy = broker.policy();
    let found = reachable(&policy, caller.subject());
    Ok(ToolOutput::json(&Targets::of(&found))?)
}

/// `list_certs`.
pub(super) fn list_certs(broker: &Broker, caller: &AgentCaller) -> Result<ToolOutput, ToolError> {
    Ok(ToolOutput::json(&Certificates::of(broker, caller))?)
}
