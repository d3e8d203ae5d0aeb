//! Reloads the policy on SIGHUP, completely or not at all. The signer loads it first; the broker follows once the
//! signer reports the same policy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyr_audit::Event;
use ephyr_core::signer::{Signer, SignerError};
use ephyr_names::Digest;
use ephyr_sandbox::{Notifier, SandboxError, log, require_abi};
use tokio::signal::unix::Signal;
use tokio::task::{JoinError, JoinHandle};

use crate::broker::Broker;
use crate::config::Config;
use crate::policy::{LoadError, Loaded};

/// Timeout for reading the policy.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for the signer to load the same policy.
const SIGNER_TIMEOUT: Duration = Duration::from_secs(10);
const SIGNER_RETRY: Duration = Duration::from_millis(200);

/// Why a policy was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The policy or a credential that it names cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An earlier reload's thread still hangs.
    #[error("an earlier reload is still reading it: its file system does not answer")]
    StillReading,
    /// The file system does not answer.
    #[error("it could not be read within {} s: its file system does not answer", READ_TIMEOUT.as_secs())]
    ReadTimeout,
    /// The reading thread panicked.
    #[error(transparent)]
    Panicked(#[from] JoinError),
    /// The policy requires a newer Landlock ABI than the kernel has.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The signer has another policy or did not answer.
    #[error(
        "the signer did not load the same policy {hash} ({answer}); reload ephyr-signer first, or ephyr-broker by systemctl, which reloads both"
    )]
    Signer {
        /// The broker's policy.
        hash: Digest,
        /// The signer's last answer.
        answer: SignerAnswer,
    },
}

/// An answer of the signer other than that it has the same policy.
#[derive(Debug, thiserror::Error)]
pub enum SignerAnswer {
    /// It has another policy.
    #[error("it has policy {0}")]
    OtherPolicy(Digest),
    /// It did not answer.
    #[error(transparent)]
    None(#[from] SignerError),
}

/// Reloads at each signal; signals that arrive during a reload count as one. Never ends.
pub async fn reload_on(mut hangup: Signal, broker: &Broker, config: &Config, notifier: &Notifier) {
    let mut reader = PolicyReader::default();
    while hangup.recv().await.is_some() {
        notifier.reloading();
        reload(broker, config, &mut reader).await;
        notifier.ready();
    }
    std::future::pending::<()>().await;
}

/// Reads policies on a thread that may hang. At most one thread hangs on a dead file system, whatever the number of
/// reloads.
#[derive(Default)]
pub struct PolicyReader {
    stuck: Option<JoinHandle<Result<Loaded, LoadError>>>,
}

impl PolicyReader {
    async fn read(
        &mut self,
        load: impl FnOnce() -> Result<Loaded, LoadError> + Send + 'static,
    ) -> Result<Loaded, ReloadError> {
        if self.stuck.as_ref().is_some_and(|read| !read.is_finished()) {
            return Err(ReloadError::StillReading);
        }
        let mut reading = tokio::task::spawn_blocking(load);
        match tokio::time::timeout(READ_TIMEOUT, &mut reading).await {
            Ok(read) => Ok(read??),
            Err(_) => {
                self.stuck = Some(reading);
                Err(ReloadError::ReadTimeout)
            }
        }
    }
}

/// Reloads the policy, or keeps the current one and logs why.
pub async fn reload(broker: &Broker, config: &Config, reader: &mut PolicyReader) {
    let (path, credentials) = (config.policy.clone(), config.credentials_dir.clone());
    let load = move || Loaded::load(&path, credentials.as_deref());
    let result = match reader.read(load).await {
        Ok(policy) => switch(broker, Arc::new(policy)).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(hash) => log::notice(&format!("policy {hash} is in force")),
        Err(error) => {
            let text = format!("policy reload failed; the previous policy stays in force: {error}");
            // Policy diagnostics have one line each.
            for line in text.lines() {
                log::error(line);
            }
            let record = broker.own_record(Event::PolicyReloadFailed);
            let record = record.with_detail("error", error.to_string());
            broker.audit().note(record);
        }
    }
}

async fn switch(broker: &Broker, policy: Arc<Loaded>) -> Result<Digest, ReloadError> {
    let hash = policy.hash();
    for warning in policy.warnings() {
        log::warning(&warning.to_string());
    }
    require_abi(broker.sandbox().landlock_abi, policy.sandbox().minimum_abi)?;
    wait_for_signer(broker.signer(), hash).await?;
    // Updates the signer's policy in the health report.
    broker.note_ping(broker.signer().ping().await);
    broker.replace_policy(policy);
    broker.audit().note(broker.own_record(Event::PolicyReload));
    Ok(hash)
}

/// Waits until the signer has this policy.
///
/// # Errors
/// [`ReloadError::Signer`]: it has another one, or does not answer, for longer than the timeout.
pub async fn wait_for_signer(signer: &Signer, hash: Digest) -> Result<(), ReloadError> {
    let start = Instant::now();
    loop {
        let answer = match signer.ping().await {
            Ok(pong) if pong.policy == hash => return Ok(()),
            Ok(pong) => SignerAnswer::OtherPolicy(pong.policy),
            Err(error) => error.into(),
        };
        tokio::time::sleep(SIGNER_RETRY).await;
        if start.elapsed() >= SIGNER_TIMEOUT {
            return Err(ReloadError::Signer { hash, answer });
        }
    }
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
    async fn policy_unknown_to_the_signer_is_not_put_in_force() {
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
    async fn policy_needing_a_newer_abi_is_not_put_in_force() {
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
    async fn hanging_read_times_out_and_does_not_block_later_ones() {
        let dir = tempfile::tempdir().unwrap();
        let loaded = || crate::testing::load(dir.path(), &policy());
        let error_of = |read: Result<Loaded, ReloadError>| read.err().unwrap().to_string();
        let mut reader = PolicyReader::default();
        let (go_on, held) = std::sync::mpsc::channel::<Loaded>();
        let hanging =
            reader.read(move || held.recv().map_err(|e| LoadError::Invalid(e.to_string())));
        let (given_up, ()) = tokio::join!(hanging, async {
            tokio::task::yield_now().await;
            tokio::time::advance(2 * READ_TIMEOUT).await;
        });
        assert!(error_of(given_up).contains("does not answer"));
        let second = reader.read(|| panic!("one thread is enough")).await;
        assert!(error_of(second).contains("an earlier reload"));
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
