//! What happens without anyone asking: epochs are renewed, what has ended is dropped, the signer
//! countersigns the log.

use std::sync::Arc;
use std::time::Duration;

use ephyr_audit::Event;
use ephyr_names::Timestamp;
use ephyr_signer_ipc::{BrokerId, PublicKeyBytes, Reply, Request};
use ephyr_token::{DelegationCertificate, DelegationPayload};
use ssh_key::PublicKey;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::clock;
use crate::epoch::Candidate;
use crate::signer::SignerError;

/// How often what has ended is dropped.
const SWEEP: Duration = Duration::from_secs(30);
/// How often reads are passed to the log and is looked whether it wants a countersignature.
const LOOK: Duration = Duration::from_millis(500);
/// The log is countersigned at least this often, where it grew.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// So many records are countersigned at once, however young.
const CHECKPOINT_RECORDS: u64 = 1000;
/// How often the signer is asked whether it is there.
const PING: Duration = Duration::from_secs(5);
/// Pause after the signer did not delegate, doubled up to [`RETRY_MOST`].
const RETRY: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(10);

/// Why there is no new epoch.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The signer gave no delegation.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// What it gave is not what was asked for, or not signed by the CA.
    #[error("the signer's delegation is not good: {0}")]
    Certificate(String),
    /// The log or the state cannot be written.
    #[error("the new epoch cannot be recorded: {0}")]
    Record(String),
}

/// What happens for as long as the broker runs.
pub struct Always(JoinSet<()>);

/// Something that always happens has ended of itself: without it the log would not be countersigned, or nothing
/// would be minted after a while. A broker that starts anew does it again.
#[derive(Debug, thiserror::Error)]
#[error("what the broker does of itself has ended ({0}), so it ends and must be started again")]
pub struct NoLonger(String);

impl Always {
    /// Begins it all.
    pub fn start(broker: &Arc<Broker>, stop: &watch::Receiver<bool>) -> Self {
        let mut all = JoinSet::new();
        all.spawn(epochs(Arc::clone(broker), stop.clone()));
        all.spawn(sweep(Arc::clone(broker), stop.clone()));
        all.spawn(countersign(Arc::clone(broker), stop.clone()));
        Self(all)
    }

    /// Waits until a part of it has ended, which none does before it is told to stop.
    pub async fn ended(&mut self) -> NoLonger {
        NoLonger(match self.0.join_next().await {
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) | None => "it was not told to".to_owned(),
        })
    }

    /// Waits for all that was told to stop.
    pub async fn finish(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Gets an epoch before the first request is taken, if the signer is there. Without it the broker starts
/// all the same: what only looks can be answered.
pub async fn first_epoch(broker: &Broker) {
    let now = clock::now();
    if broker.state().minting_epoch(now).is_some() {
        return;
    }
    match new_epoch(broker, now).await {
        Ok(()) => broker.set_signer_ok(true),
        Err(error) => log(&format!("no token can be made yet: {error}")),
    }
}

/// Keeps an epoch that may mint.
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
            // Short enough to notice a clock that was set.
            Duration::from_secs(5)
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn new_epoch(broker: &Broker, now: Timestamp) -> Result<(), EpochError> {
    let bad = |why: &str| EpochError::Certificate(why.to_owned());
    let candidate = Candidate::generate(now);
    let own_key = candidate
        .public_key()
        .map_err(|error| bad(&error.to_string()))?;
    let request = Request::Delegate {
        epoch: candidate.id,
        public_key: PublicKeyBytes(own_key),
        broker_id: BrokerId::new("ephyr-broker").map_err(|_| bad("no broker id"))?,
        mint_for: None,
    };
    let Reply::Delegation {
        epoch,
        broker_id,
        public_key,
        issued_at,
        mint_until,
        valid_until,
        signature,
    } = broker.signer().ask(&request).await?
    else {
        return Err(SignerError::Unexpected.into());
    };
    if epoch != candidate.id || public_key.0 != own_key {
        return Err(bad("it is for another epoch"));
    }
    let payload = DelegationPayload {
        epoch,
        broker_id: broker_id.as_str().to_owned(),
        public_key: public_key.0,
        issued_at,
        mint_until,
        valid_until,
    };
    let certificate = DelegationCertificate { payload, signature };
    certificate
        .verify(&ca_key(broker).await?, now)
        .map_err(|error| bad(&error.to_string()))?;
    let mut record = broker.own_record(Event::EpochStarted);
    record.delegation = Some(Box::new(certificate.clone()));
    broker
        .audit()
        .durable(&record)
        .await
        .map_err(|error| EpochError::Record(error.to_string()))?;
    let entry = candidate.certified(certificate);
    broker
        .state()
        .add_epoch(entry)
        .map_err(|error| EpochError::Record(error.to_string()))
}

/// The CA's public key: the one that the signer names, which must be one of those that the operator pinned.
async fn ca_key(broker: &Broker) -> Result<PublicKey, EpochError> {
    let bad = |why: &str| EpochError::Certificate(why.to_owned());
    let Reply::RootPublicKey { public_key } =
        broker.signer().ask(&Request::RootPublicKey {}).await?
    else {
        return Err(SignerError::Unexpected.into());
    };
    let key =
        PublicKey::from_openssh(&public_key).map_err(|_| bad("its public key is unreadable"))?;
    match broker.ca_pins() {
        Some(pins) if pins.find(&key).is_none() => Err(bad("its key is not among the pinned ones")),
        _ => Ok(key),
    }
}

/// Drops what has ended.
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
            log(&format!("the state journal cannot be rewritten: {error}"));
        }
    }
}

/// Has the signer countersign the log, and asks it now and then whether it is there.
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
            broker.note_ping(broker.signer().ask(&Request::Ping {}).await);
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
    match broker.audit().checkpoint(broker.signer(), policy).await {
        Ok(()) => true,
        Err(error) => {
            broker.audit().note_checkpoint_failure(&error, policy);
            false
        }
    }
}

/// One line on standard error, which systemd puts into the journal.
pub fn log(message: &str) {
    use std::io::Write as _;
    // A daemon whose standard error is gone goes on.
    let _ = writeln!(std::io::stderr().lock(), "{}", message.trim_end());
}

mod files;
#[cfg(test)]
mod tests;

use files::OpenFiles;
