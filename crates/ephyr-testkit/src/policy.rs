//! The default policy of a world. Tests edit it before the start or replace it later.

use serde_json::{Value, json};

use crate::accounts::{Accounts, Footing};
use crate::error::Result;
use crate::keys::ApiKey;
use crate::sshd::Sshd;

/// The agents of every world.
///
/// `builder` is local (user id, no API key) and has `read` and `operator` on `web` and `read` on `db`.
/// `scout` is remote (API key, no user id) and has `read` on `web`. `worker` has both a user id and an
/// API key, and the same grant as `scout`. `stranger` is a local user that is not in the policy.
pub(crate) const AGENTS: [&str; 4] = ["builder", "scout", "worker", "stranger"];

/// The roles, each with its account on every target.
pub(crate) const ROLES: [(&str, &str); 3] = [
    ("read", "eph-read"),
    ("operator", "eph-op"),
    ("admin", "eph-admin"),
];

/// The targets, each with its allowed roles.
pub(crate) const TARGETS: [(&str, &[&str]); 2] =
    [("web", &["read", "operator", "admin"]), ("db", &["read"])];

/// The input of [`default`].
pub(crate) struct Parts<'a> {
    pub(crate) accounts: &'a Accounts,
    pub(crate) scout: &'a ApiKey,
    pub(crate) worker: &'a ApiKey,
    pub(crate) sshds: &'a [(&'static str, Sshd)],
}

pub(crate) fn default(parts: &Parts<'_>) -> Result<Value> {
    let Parts {
        accounts,
        scout,
        worker,
        sshds,
    } = parts;
    let mut roles = json!({});
    for (role, account) in ROLES {
        let principal = accounts.role_account(account)?;
        roles[role] = json!({"principal": principal});
        if principal == "root" {
            roles[role]["allow_root_equivalent"] = true.into();
        }
    }
    let mut targets = json!({});
    for (name, sshd) in *sshds {
        let allowed = TARGETS
            .iter()
            .find(|(target, _)| target == name)
            .map(|(_, roles)| *roles);
        targets[*name] = json!({
            "host": "127.0.0.1",
            "port": sshd.port,
            "allowed_roles": allowed.unwrap_or_default(),
            "auto_approve": true,
            "host_key": sshd.host_key,
        });
    }
    let mut agents = json!({
        "builder": {
            "uid": accounts.get("builder")?.uid,
            "description": "lives on the appliance",
            "max_concurrent_certs": 20,
            "ssh": {"web": {"roles": ["read", "operator"]}, "db": {"roles": ["read"]}},
        },
        "scout": {
            "api_key_hash": scout.hash,
            "description": "lives elsewhere",
            "max_concurrent_certs": 20,
            "ssh": {"web": {"roles": ["read"]}},
        },
        "worker": {
            "api_key_hash": worker.hash,
            "description": "lives on the appliance and has a key as well",
            "max_concurrent_certs": 20,
            "ssh": {"web": {"roles": ["read"]}},
        },
    });
    // On `Footing::Plain` all agents share one user id, which can identify only one of them.
    if accounts.footing != Footing::Plain {
        agents["worker"]["uid"] = accounts.get("worker")?.uid.into();
    }
    Ok(json!({
        "global": {
            "max_active_certs": 200, "default_ttl": "5m", "max_ttl": "30m", "host_key_strict": true,
        },
        "agents": agents,
        "roles": roles,
        "targets": targets,
        // Tests send more requests than agents do.
        "signer": {"rate_limit": "6000/1m", "global_rate_limit": "20000/1m"},
    }))
}
