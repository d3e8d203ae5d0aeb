//! `POST /v1/request`: a certificate for an agent's own SSH client.

use std::borrow::Cow;
use std::sync::Arc;

use ephyr_api::v1::{CertificateRequest, GrantedCertificate, RequestPreview};
use ephyr_core::caller::AgentCaller;
use ephyr_policy::{Purpose, SshAction};
use http::{Response, StatusCode};

use super::body::parse;
use super::error::ApiError;
use crate::broker::Broker;
use crate::certificate;
use crate::clock;
use crate::response::{Body, json};

/// Issues a certificate, or on a dry run reports the decision.
pub(super) async fn answer(
    broker: &Arc<Broker>,
    caller: &AgentCaller,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let asked: CertificateRequest = parse(body)?;
    let action = SshAction {
        target: asked.target,
        role: asked.role,
        purpose: Purpose::User,
        ttl: asked.duration,
    };
    if asked.dry_run {
        return preview(broker, caller, &action);
    }
    let (owned, caller) = (Arc::clone(broker), caller.clone());
    // In its own task, so that the outcome is recorded even if the caller disconnects.
    let issuing = tokio::spawn(async move {
        certificate::issue(&owned, &caller, action, &asked.public_key).await
    });
    let issued = issuing.await.map_err(|_| {
        let message =
            "issuing the certificate failed unexpectedly; the audit log shows how far it got";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    })??;
    let target = &issued.target;
    let granted = GrantedCertificate {
        status: Cow::Borrowed("granted"),
        certificate: Cow::Borrowed(&issued.certificate),
        serial: issued.serial,
        principal: format!("{}/{}", target.name(), target.role()),
        account: Cow::Borrowed(target.account().as_str()),
        host: Cow::Borrowed(target.host()),
        port: target.port(),
        expires_at: issued.expires,
    };
    Ok(json(StatusCode::OK, &granted))
}

fn preview(
    broker: &Broker,
    caller: &AgentCaller,
    action: &SshAction,
) -> Result<Response<Body>, ApiError> {
    let policy = broker.policy();
    let granted = broker
        .gate()
        .preview(&policy, caller.subject(), action, clock::now())?;
    let preview = RequestPreview {
        status: Cow::Borrowed("allowed"),
        ttl_seconds: granted.ttl().as_secs(),
    };
    Ok(json(StatusCode::OK, &preview))
}
