//! `GET /v1/health`.

use std::borrow::Cow;

use ephyr_api::v1::{
    AuditHealth, BrokerSandbox, Health, HealthDetails, SignerHealth, SignerSandbox,
};

use crate::broker::{Broker, SandboxView, SignerView};
use crate::clock;

/// Returns the broker's health, with details if `full`.
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
            signer: broker.signer_view().map(|view| signer(&view)),
            minting_until: epoch.map(|epoch| epoch.mint_until()),
            audit: AuditHealth {
                ok: failure.is_none(),
                records: position.count,
                countersigned: position.signed,
                error: failure.map(|failure| failure.error.to_string()),
            },
            state_error,
            sandbox: sandbox(broker.sandbox()),
            mcp: broker.mcp_address().map(|address| address.to_string()),
            warnings: broker.warnings().into_iter().map(Cow::Borrowed).collect(),
        }
    });
    Health {
        status: Cow::Borrowed(status),
        version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
        details,
    }
}

fn signer(view: &SignerView) -> SignerHealth {
    let sandbox = view.sandbox.clone();
    SignerHealth {
        version: view.version.clone(),
        policy: view.policy,
        sandbox: SignerSandbox {
            landlock_abi: sandbox.landlock_abi,
            landlock: sandbox.landlock,
            seccomp: sandbox.seccomp,
            memory_locked: sandbox.memory_locked,
            non_dumpable: sandbox.non_dumpable,
        },
    }
}

fn sandbox(view: &SandboxView) -> BrokerSandbox {
    BrokerSandbox {
        landlock_abi: view.landlock_abi,
        landlock: view.landlock.clone(),
        state_in_memory: view.state_in_memory,
    }
}
