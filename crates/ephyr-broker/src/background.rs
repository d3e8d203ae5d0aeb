//! Background tasks: renewing epochs, dropping expired tasks and having the audit log countersigned.

use std::sync::Arc;
use std::time::Duration;

use ephyr_audit::{AuditError, Event};
use ephyr_core::epoch::{Candidate, NoKey};
use ephyr_core::signer::SignerError;
use ephyr_core::state::StateError;
use ephyr_names::Timestamp;
use ephyr_sandbox::log;
use ephyr_signer_ipc::{BrokerId, MAX_CHECKPOINT_HASHES};
use ephyr_token::DelegationError;
use ssh_key::PublicKey;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::clock;

/// Interval at which expired state is dropped.
const SWEEP: Duration = Duration::from_secs(30);
/// Interval at which reads are passed to the log and a due countersignature is requested.
const LOOK: Duration = Duration::from_millis(500);
/// Maximum time between countersignatures while the log grows.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// Number of records that triggers a countersignature at once: the capacity of one request.
const CHECKPOINT_RECORDS: u64 = MAX_CHECKPOINT_HASHES as u64;
/// Interval at which the signer is pinged.
const PING: Duration = Duration::from_secs(5);
/// Pause after a failed delegation, doubled up to [`RETRY_MOST`].
const RETRY: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(10);

/// Why a new epoch could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The signer refused, or did not answer.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The signer's delegation does not match the request or is not signed by the CA.
    #[error("the signer's delegation is invalid: {0}")]
    Delegation(#[from] DelegationFault),
    /// The log cannot be written.
    #[error("the new epoch cannot be recorded: {0}")]
    Audit(#[from] AuditError),
    /// The state cannot be written.
    #[error("the new epoch cannot be recorded: {0}")]
    State(#[from] StateError),
}

/// Why the signer's delegation is invalid.
#[derive(Debug, thiserror::Error)]
pub enum DelegationFault {
    /// The epoch's key cannot be created.
    #[error(transparent)]
    Key(#[from] NoKey),
    /// It is for another epoch or key.
    #[error("it is for another epoch")]
    OtherEpoch,
    /// It does not verify.
    #[error(transparent)]
    Invalid(#[from] DelegationError),
    /// The CA's public key is not an OpenSSH line.
    #[error("its public key is unreadable")]
    CaUnreadable,
    /// The CA's public key is not a pinned one.
    #[error("its key is not among the pinned ones")]
    CaNotPinned,
}

/// The background tasks, which run for as long as the broker does.
pub struct BackgroundTasks(JoinSet<()>);

/// A background task stopped before shutdown. Without it the log is not countersigned or epochs expire, so the broker
/// exits and the service manager restarts it.
#[derive(Debug, thiserror::Error)]
#[error("background task stopped ({0}); shutting down")]
pub struct Stopped(String);

impl BackgroundTasks {
    /// Starts all background tasks.
    pub fn start(broker: &Arc<Broker>, stop: &watch::Receiver<bool>) -> Self {
        let mut all = JoinSet::new();
        all.spawn(epochs(Arc::clone(broker), stop.clone()));
        all.spawn(sweep(Arc::clone(broker), stop.clone()));
        all.spawn(countersign(Arc::clone(broker), stop.clone()));
        Self(all)
    }

    /// Waits until a task stops, which before shutdown is an error.
    pub async fn ended(&mut self) -> Stopped {
        Stopped(match self.0.join_next().await {
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) | None => "it returned before shutdown".to_owned(),
        })
    }

    /// Waits until all tasks have stopped, after the stop signal.
    pub async fn finish(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Starts an epoch before the first request is accepted. If the signer is unavailable, the broker starts without one,
/// because reads need none.
pub async fn first_epoch(broker: &Broker) {
    let now = clock::now();
    if broker.state().minting_epoch(now).is_some() {
        return;
    }
    match new_epoch(broker, now).await {
        Ok(()) => broker.set_signer_ok(true),
        Err(error) => log::warning(&format!("tokens cannot be minted yet: {error}")),
    }
}

/// Renews the epoch in time, so that tokens can be minted.
async fn epochs(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    let mut pause = RETRY;
    loop {
        let now = clock::now();
        let due = broker
            .state()
            .newest_epoch()
            .is_none_or(|epoch| epoch.renew_at() <= now);
        let wait = if due {
            match new_epoch(&broker, now).await {
                Ok(()) => {
                    pause = RETRY;
                    Duration::ZERO
                }
                Err(error) => {
                    let record = broker.own_record(Event::SignerFailed);
                    broker
                        .audit()
                        .note(record.with_detail("error", error.to_string()));
                    let wait = pause;
                    pause = (pause * 2).min(RETRY_MOST);
                    wait
                }
            }
        } else {
            // Short, so that a change of the wall clock is noticed.
            Duration::from_secs(5)
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Starts an epoch. Its delegation is verified and recorded first, because tokens minted under it depend on both.
async fn new_epoch(broker: &Broker, now: Timestamp) -> Result<(), EpochError> {
    let candidate = Candidate::generate(now);
    let own_key = candidate.public_key().map_err(DelegationFault::from)?;
    let signer = broker.signer();
    let certificate = signer.delegate(candidate.id, own_key, broker_id()).await?;
    let payload = &certificate.payload;
    if payload.epoch != candidate.id || payload.public_key != own_key {
        return Err(DelegationFault::OtherEpoch.into());
    }
    let ca = ca_key(broker).await?;
    certificate
        .verify(&ca, now)
        .map_err(DelegationFault::from)?;
    let mut record = broker.own_record(Event::EpochStarted);
    record.delegation = Some(Box::new(certificate.clone()));
    broker.audit().durable(&record).await?;
    broker.state().add_epoch(candidate.certified(certificate))?;
    Ok(())
}

#[expect(clippy::expect_used, reason = "a fixed name, used by every test")]
fn broker_id() -> BrokerId {
    BrokerId::new("ephyr-broker").expect("the broker's id is valid")
}

/// Returns the signer's CA public key, which must be among the operator's pinned keys, if there are any.
async fn ca_key(broker: &Broker) -> Result<PublicKey, EpochError> {
    let line = broker.signer().root_public_key().await?;
    let key = PublicKey::from_openssh(&line).map_err(|_| DelegationFault::CaUnreadable)?;
    match broker.ca_pins() {
        Some(pins) if pins.find(&key).is_none() => Err(DelegationFault::CaNotPinned.into()),
        _ => Ok(key),
    }
}

/// Drops expired state and compacts the journal.
async fn sweep(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let sweeper = Arc::clone(&broker);
        let swept = tokio::task::spawn_blocking(move || {
            sweeper.state().sweep(clock::now());
            let compacted = sweeper.state().compact_if_worthwhile();
            ephyr_heap::trim();
            compacted
        });
        if let Ok(Err(error)) = swept.await {
            log::error(&format!("the state journal cannot be rewritten: {error}"));
        }
    }
}

/// Has the signer countersign the log, and pings it.
async fn countersign(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    // Countersign what earlier processes left: a broker that restarts before each round would
    // accumulate records.
    let mut owed = !checkpoint(&broker).await;
    let mut files = OpenFiles::default();
    let mut since_checkpoint = Duration::ZERO;
    let mut since_ping = PING;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        broker.flush_reads();
        files.look(&broker).await;
        since_checkpoint += LOOK;
        since_ping += LOOK;
        if since_ping >= PING {
            since_ping = Duration::ZERO;
            broker.note_ping(broker.signer().ping().await);
        }
        let waiting = broker.audit().uncountersigned();
        let due = waiting >= CHECKPOINT_RECORDS || since_checkpoint >= CHECKPOINT_EVERY;
        if due || owed && broker.signer_ok() {
            since_checkpoint = Duration::ZERO;
            owed = !checkpoint(&broker).await;
        }
    }
}

/// Has the signer countersign the log now; returns whether it succeeded.
pub async fn checkpoint(broker: &Broker) -> bool {
    let policy = broker.policy_hash();
    match broker
        .audit()
        .checkpoint(broker.signer(), policy, clock::now())
        .await
    {
        Ok(()) => true,
        Err(error) => {
            broker
                .audit()
                .note_checkpoint_failure(&error, policy, clock::now());
            false
        }
    }
}

mod files;
#[cfg(test)]
mod tests;

use files::OpenFiles;
