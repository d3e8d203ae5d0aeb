//! SIGHUP: a new policy, all of it at once or not at all. The signer loads it first; the broker follows
//! when both have the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyr_audit::Event;
use ephyr_names::Digest;
use ephyr_sandbox::{Notifier, log, require_abi};
use tokio::signal::unix::Signal;
use tokio::task::JoinHandle;

use crate::broker::Broker;
use crate::config::Config;
use crate::policy::Loaded;
use ephyr_core::signer::Signer;

/// Timeout for reading the policy.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// How long the signer may take to load the same policy.
const SIGNER_PATIENCE: Duration = Duration::from_secs(10);
const SIGNER_WAIT: Duration = Duration::from_millis(200);

/// Reloads at each signal; signals that come meanwhile are one. Never ends.
pub async fn reload_on(mut hangup: Signal, broker: &Broker, config: &Config, notifier: &Notifier) {
    let mut reader = PolicyReader::default();
    while hangup.recv().await.is_some() {
        notifier.reloading();
        reload(broker, config, &mut reader).await;
        notifier.ready();
    }
    std::future::pending::<()>().await;
}

/// Reads policies on a thread that may hang: a dead file system must neither block later reloads nor cost one
/// thread each.
#[derive(Default)]
pub struct PolicyReader {
    stuck: Option<JoinHandle<Result<Loaded, String>>>,
}

impl PolicyReader {
    async fn read(
        &mut self,
        load: impl FnOnce() -> Result<Loaded, String> + Send + 'static,
    ) -> Result<Loaded, String> {
        if self.stuck.as_ref().is_some_and(|read| !read.is_finished()) {
            return Err(
                "an earlier reload is still reading it: its file system does not answer".to_owned(),
            );
        }
        let mut reading = tokio::task::spawn_blocking(load);
        match tokio::time::timeout(READ_PATIENCE, &mut reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => {
                self.stuck = Some(reading);
                Err(format!(
                    "it could not be read within {} s: its file system does not answer",
                    READ_PATIENCE.as_secs()
                ))
            }
        }
    }
}

/// Loads the policy anew and puts it in force, or keeps the one that is and says why.
pub async fn reload(broker: &Broker, config: &Config, reader: &mut PolicyReader) {
    let (path, credentials) = (config.policy.clone(), config.credentials_dir.clone());
    let load = move || Loaded::load(&path, credentials.as_deref()).map_err(|e| e.to_string());
    let result = match reader.read(load).await {
        Ok(policy) => switch(broker, Arc::new(policy)).await,
        Err(why) => Err(why),
    };
    match result {
        Ok(hash) => log::notice(&format!("policy {hash} is in force")),
        Err(why) => {
            let text = format!("the new policy was not put in force, the old one stays: {why}");
            // A policy's findings are a line each.
            for line in text.lines() {
                log::error(line);
            }
            let record = broker.own_record(Event::PolicyReloadFailed);
            broker.audit().note(record.with_detail("error", why));
        }
    }
}

async fn switch(broker: &Broker, policy: Arc<Loaded>) -> Result<Digest, String> {
    let hash = policy.hash();
    for warning in policy.warnings() {
        log::warning(&warning.to_string());
    }
    require_abi(broker.sandbox().landlock_abi, policy.sandbox().minimum_abi)
        .map_err(|error| error.to_string())?;
    wait_for_signer(broker.signer(), hash).await?;
    // So that health does not go on with what it was.
    broker.note_ping(broker.signer().ping().await);
    broker.replace_policy(policy);
    broker.audit().note(broker.own_record(Event::PolicyReload));
    Ok(hash)
}

/// Waits until the signer has this policy.
///
/// # Errors
/// It does not, or cannot be asked, for longer than it may take.
pub async fn wait_for_signer(signer: &Signer, hash: Digest) -> Result<(), String> {
    let mut last = String::new();
    let begun = Instant::now();
    while begun.elapsed() < SIGNER_PATIENCE {
        match signer.ping().await {
            Ok(pong) if pong.policy == hash => return Ok(()),
            Ok(pong) => last = format!("it has policy {}", pong.policy),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(SIGNER_WAIT).await;
    }
    Err(format!(
        "the signer did not load the same policy {hash} ({last}); reload ephyr-signer first, or ephyr-broker by systemctl, which reloads both"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use ephyr_signer_ipc::{Reply, SandboxReport};
    use serde_json::json;

    use super::*;
    use crate::testing::{Bench, policy};

    fn has(policy: Digest) -> Reply {
        Reply::Pong {
            version: "test".to_owned(),
            policy,
            uptime_seconds: 1,
            sandbox: SandboxReport {
                landlock_abi: 0,
                landlock: Vec::new(),
                seccomp: false,
                memory_locked: false,
                non_dumpable: false,
            },
        }
    }

    async fn after_reload(bench: &Bench, policy: &serde_json::Value) -> Digest {
        let path = bench.write_policy(policy);
        let path = path.to_str().unwrap();
        let config = Config::try_parse_from(["ephyr-broker", "--policy", path]).unwrap();
        reload(&bench.broker, &config, &mut PolicyReader::default()).await;
        bench.broker.policy_hash()
    }

    #[tokio::test]
    async fn a_policy_that_the_signer_does_not_have_is_not_put_in_force() {
        let bench = Bench::new(&policy());
        let before = bench.broker.policy_hash();
        bench.signer(move |_| has(before));
        let mut other = policy();
        other["global"]["max_ttl"] = json!("29m");
        assert_eq!(after_reload(&bench, &other).await, before);
        assert_eq!(
            after_reload(&bench, &policy()).await,
            before,
            "what both have"
        );
        let events = bench.events();
        let count = |event: &str| events.iter().filter(|e| *e == event).count();
        assert_eq!(count("policy_reload_failed"), 1);
        assert_eq!(count("policy_reload"), 1);
    }

    #[tokio::test]
    async fn a_policy_that_asks_for_more_than_the_kernel_has_is_not_put_in_force() {
        let bench = Bench::new(&policy());
        let mut other = policy();
        other["sandbox"]["minimum_abi"] = json!(1);
        let path = bench.write_policy(&other);
        let stricter = Loaded::load(&path, None).unwrap().hash();
        bench.signer(move |_| has(stricter));
        let after = after_reload(&bench, &other).await;
        assert!(after != stricter, "this sandbox is of ABI 0");
        assert_eq!(bench.events().last().unwrap(), "policy_reload_failed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_given_up_and_later_ones_are_tried() {
        let dir = tempfile::tempdir().unwrap();
        let loaded = || crate::testing::load(dir.path(), &policy());
        let mut reader = PolicyReader::default();
        let (go_on, held) = std::sync::mpsc::channel::<Loaded>();
        let hanging = reader.read(move || held.recv().map_err(|e| e.to_string()));
        let (given_up, ()) = tokio::join!(hanging, async {
            tokio::task::yield_now().await;
            tokio::time::advance(2 * READ_PATIENCE).await;
        });
        assert!(given_up.err().unwrap().contains("does not answer"));
        let second = reader.read(|| panic!("one thread is enough")).await;
        assert!(second.err().unwrap().contains("an earlier reload"));
        // The file system answers again.
        go_on.send(loaded()).unwrap();
        while reader
            .stuck
            .as_ref()
            .is_some_and(|read| !read.is_finished())
        {
            tokio::task::yield_now().await;
        }
        let third = loaded();
        assert!(reader.read(move || Ok(third)).await.is_ok());
    }
}
