//! `list_certs`: lists the caller's valid certificates.

use std::borrow::Cow;
use std::sync::Arc;

use ephyr_api::{CertificateList, CertificateView, ListCertsArguments, ToolArguments as _};
use ephyr_core::caller::AgentCaller;
use ephyr_core::gate::Issued;
use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{Call, Effects, Tool, ToolError, ToolOutput};
use ephyr_policy::CertificateKind;
use serde_json::value::RawValue;

use super::schema::{name, text, time};
use super::tool::{BrokerTool, read};
use crate::broker::Broker;
use crate::clock;

pub(super) const TOOL: BrokerTool = BrokerTool {
    declare,
    needs_targets: true,
    allowed_unbound: false,
    handle,
};

fn declare() -> Tool {
    let cert = Object::new()
        .required("serial", text("the certificate's serial"))
        .required("target", name("the target"))
        .required("role", name("the role"))
        .required("principal", text("what it opens"))
        .required("kind", text("exec, session or user"))
        .required("expires_at", time("when it ends"))
        .open();
    let output = Object::new()
        .required("certs", Schema::array(Schema::object(cert), 0..=usize::MAX))
        .open();
    let about = "List the certificates that are out for you at this moment.";
    Tool::new(ListCertsArguments::TOOL, about, Object::new())
        .title("List certificates")
        .output(output)
        .effects(Effects::READS)
}

fn handle(broker: &Arc<Broker>, caller: &AgentCaller, _: &RawValue) -> Call {
    let answer = ToolOutput::json(&certificate_list(broker, caller)).map_err(ToolError::from);
    read(broker, caller, ListCertsArguments::TOOL, answer)
}

/// Returns a caller's valid certificates; with a token, those of its task and the tasks below.
pub(crate) fn certificate_list(broker: &Broker, caller: &AgentCaller) -> CertificateList<'static> {
    let issued = broker
        .gate()
        .certificates(caller.agent(), caller.task(), clock::now());
    CertificateList {
        certs: issued.into_iter().map(view).collect(),
    }
}

fn view(issued: Issued) -> CertificateView<'static> {
    CertificateView {
        serial: issued.serial,
        principal: format!("{}/{}", issued.entry.target, issued.entry.role),
        target: issued.entry.target,
        role: issued.entry.role,
        kind: Cow::Borrowed(match issued.entry.kind {
            CertificateKind::Exec => "exec",
            CertificateKind::User => "user",
        }),
        expires_at: issued.expires,
    }
}
