//! SIGHUP: a new policy, all of it at once or not at all. The signer loads it first; the broker follows
//! when both have the same.

use std::sync::Arc;
use std::time::Duration;

use ephyr_audit::Event;
use ephyr_names::Digest;
use ephyr_signer_ipc::{Reply, Request};

use crate::broker::Broker;
use crate::config::Config;
use crate::policy::Loaded;
use crate::upkeep::log;

/// How long the signer may take to load the same policy.
const SIGNER_TRIES: u32 = 50;
const SIGNER_WAIT: Duration = Duration::from_millis(200);

/// Loads the policy anew and puts it in force, or keeps the one that is and says why.
pub async fn reload(broker: &Broker, config: &Config) {
    let (path, credentials) = (config.policy.clone(), config.credentials_dir.clone());
    let loaded =
        tokio::task::spawn_blocking(move || Loaded::load(&path, credentials.as_deref())).await;
    let result = match loaded {
        Ok(Ok(policy)) => switch(broker, Arc::new(policy)).await,
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(hash) => log(&format!("policy {hash} is in force")),
        Err(why) => {
            log(&format!(
                "the new policy was not put in force, the old one stays: {why}"
            ));
            let record = broker.own_record(Event::PolicyReloadFailed);
            broker.audit().note(record.with_detail("error", why));
        }
    }
}

async fn switch(broker: &Broker, policy: Arc<Loaded>) -> Result<Digest, String> {
    let hash = policy.hash();
    for warning in policy.warnings() {
        log(&warning.to_string());
    }
    if policy.sandbox().min_landlock_abi > broker.sandbox().landlock_abi {
        return Err(format!(
            "restart needed: sandbox.minimum_abi {} is above what is in force ({})",
            policy.sandbox().min_landlock_abi,
            broker.sandbox().landlock_abi
        ));
    }
    wait_for_signer(broker, hash).await?;
    broker.replace_policy(policy);
    broker.audit().note(broker.own_record(Event::PolicyReload));
    Ok(hash)
}

async fn wait_for_signer(broker: &Broker, hash: Digest) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..SIGNER_TRIES {
        match broker.signer().ask(&Request::Ping {}).await {
            Ok(Reply::Pong { policy, .. }) if policy == hash => return Ok(()),
            Ok(Reply::Pong { policy, .. }) => last = format!("it has policy {policy}"),
            Ok(_) => "it answered another question".clone_into(&mut last),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(SIGNER_WAIT).await;
    }
    Err(format!(
        "the signer did not load the same policy {hash} ({last}); reload ephyr-signer first"
    ))
}
