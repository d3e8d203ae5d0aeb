//! Whether the broker is well, and what an operator wants to know of it.

use ephyr_names::{Digest, Timestamp};
use serde::Serialize;

use crate::broker::{Broker, SandboxView, SignerView};
use crate::clock;

/// Whether the broker is well.
#[derive(Serialize)]
pub struct Health {
    status: &'static str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<HealthDetails>,
}

#[derive(Serialize)]
struct HealthDetails {
    uptime_seconds: u64,
    policy: Digest,
    active_certs: usize,
    live_tasks: usize,
    running: usize,
    signer_ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<SignerView>,
    minting_until: Option<Timestamp>,
    audit: AuditHealth,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_error: Option<String>,
    sandbox: SandboxView,
    mcp: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
}

#[derive(Serialize)]
struct AuditHealth {
    ok: bool,
    records: u64,
    countersigned: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Whether the broker is well; with particulars for insiders.
#[must_use]
pub fn health(broker: &Broker, full: bool) -> Health {
    let now = clock::now();
    let epoch = broker.state().minting_epoch(now);
    let failure = broker.audit().writer().failure();
    let state_error = broker.state().displaced();
    let status = if failure.is_none() && state_error.is_none() && epoch.is_some() {
        "ok"
    } else {
        "degraded"
    };
    let details = full.then(|| {
        let position = broker.audit().writer().position();
        HealthDetails {
            uptime_seconds: now.since(broker.started()).as_secs(),
            policy: broker.policy_hash(),
            active_certs: broker.gate().active(now),
            live_tasks: broker.state().task_count(),
            running: broker.live().count(),
            signer_ok: broker.signer_ok(),
            signer: broker.signer_view().map(|view| (*view).clone()),
            minting_until: epoch.map(|epoch| epoch.mint_until()),
            audit: AuditHealth {
                ok: failure.is_none(),
                records: position.count,
                countersigned: position.signed,
                error: failure.map(|failure| failure.error.to_string()),
            },
            state_error,
            sandbox: broker.sandbox().clone(),
            mcp: broker.mcp_address().map(|address| address.to_string()),
            warnings: broker.warnings(),
        }
    });
    Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        details,
    }
}
