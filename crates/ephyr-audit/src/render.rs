//! The human-readable form of a record, and its line in the log.

use std::fmt;

use ephyr_chain::EncodedRecord;

use crate::record::{ActionInfo, Record, Stored};
use crate::text::{FieldText, QuotedText};

/// One line: time, severity, event, agent, action, decision, details. No content can move the cursor or begin another
/// line.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<24} {:<5} {}",
            self.time.to_string(),
            self.severity,
            self.event
        )?;
        if let Some(count) = self.count {
            write!(f, " ×{count}")?;
        }
        if let Some(agent) = &self.agent {
            write!(f, " agent={agent}")?;
        }
        if let Some(task) = self.task {
            write!(f, " task={task}")?;
        }
        if let Some(action) = &self.action {
            write!(f, " {action}")?;
        }
        if let Some(decision) = &self.decision {
            write!(f, " reason={}", decision.reason)?;
            if let Some(step) = decision.step {
                write!(f, " step={step}")?;
            }
            if let Some(rule) = &decision.rule {
                write!(f, " rule={rule}")?;
            }
        }
        if let Some(serial) = self.serial {
            write!(f, " serial={serial}")?;
        }
        if let Some(duration) = self.duration_ms {
            write!(f, " duration={duration}ms")?;
        }
        if let Some(attempt) = self.attempt {
            write!(f, " attempt={attempt}")?;
        }
        if let Some(checkpoint) = &self.checkpoint {
            write!(f, " signed={}", checkpoint.count)?;
        }
        if let Some(delegation) = &self.delegation {
            write!(f, " certificate={}", delegation.id())?;
        }
        for (key, value) in self.detail.iter() {
            write!(f, " {}={}", key.escape_debug(), FieldText(value))?;
        }
        write!(f, " id={}", self.id)
    }
}

impl fmt::Display for ActionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(target) = &self.target {
            write!(f, " target={target}")?;
        }
        if let Some(role) = &self.role {
            write!(f, " role={role}")?;
        }
        if let Some(service) = &self.service {
            write!(f, " service={service}")?;
        }
        if let Some(method) = &self.method {
            write!(f, " method={method}")?;
        }
        if let Some(url) = &self.url {
            write!(f, " url={}", FieldText(url))?;
        }
        if let Some(remote) = &self.remote {
            write!(f, " remote={remote}")?;
        }
        if let Some(tool) = &self.tool {
            write!(f, " tool={tool}")?;
        }
        if let Some(command) = &self.command {
            write!(f, " command={}", QuotedText(command))?;
        }
        Ok(())
    }
}

impl Stored {
    /// Returns the line in the log, without its newline.
    #[must_use]
    pub fn json(&self) -> String {
        let line = EncodedRecord::new(&self.record).map(|record| record.line(self.hash));
        String::from_utf8_lossy(&line.unwrap_or_default()).into_owned()
    }
}
