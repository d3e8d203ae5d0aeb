//! Checks that the broker's open files are still at their paths, and logs when they are not.

use std::sync::Arc;

use ephyr_audit::Event;
use ephyr_names::Timestamp;
use ephyr_sandbox::log;

use crate::broker::Broker;
use crate::clock;

/// Failures that were already logged, to avoid repeats.
#[derive(Default)]
pub(super) struct OpenFiles {
    /// The start of the failure that was logged.
    failing_since: Option<Timestamp>,
    is_failing: bool,
    /// Why the state directory cannot be restored.
    state: Option<String>,
}

impl OpenFiles {
    /// Checks all files, restores those of the state directory, and logs changes.
    pub(super) async fn look(&mut self, broker: &Arc<Broker>) {
        broker.audit().writer().look();
        self.report_audit_log(broker);
        if broker.state().displaced().is_some() {
            self.restore_state(broker).await;
        }
    }

    /// Logs when writing the audit log fails and recovers. Its writer thread may recover before this check, so the last
    /// failure counts, not only a current one.
    fn report_audit_log(&mut self, broker: &Broker) {
        let writer = broker.audit().writer();
        if let Some(last) = writer.last_failure()
            && self.failing_since != Some(last.since)
        {
            log::error(&format!("error: {}", last.error));
            (self.failing_since, self.is_failing) = (Some(last.since), true);
        }
        if self.is_failing && writer.failure().is_none() {
            log::notice("the audit log can be written again; its records say what happened");
            self.is_failing = false;
        }
    }

    async fn restore_state(&mut self, broker: &Arc<Broker>) {
        let keeper = Arc::clone(broker);
        let restored =
            tokio::task::spawn_blocking(move || keeper.state().restore_files(clock::now())).await;
        let error = match restored {
            Ok(Ok(restored)) => {
                for (what, how) in restored {
                    log::warning(&format!(
                        "{what} was {how} while in use; it was rewritten from memory and nothing is lost. \
                         Keep other programs out of the state directory"
                    ));
                    let record = broker.own_record(Event::StateRestored);
                    let record = record.with_detail("what", what);
                    broker
                        .audit()
                        .note(record.with_detail("taken_away", how.as_str()));
                }
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = error.as_ref().filter(|_| self.state != error) {
            log::error(&format!(
                "error: files of the state directory were taken away and cannot be rewritten ({why}): \
                 no task is created, bound or revoked until they are"
            ));
        }
        self.state = error;
    }
}
