//! `exec`: one command on one target, by a certificate that is made for it.

use std::time::Duration;

use ephyr_audit::Event;
use ephyr_core::caller::AgentCaller;
use ephyr_mcp::{CallContext, ToolError, ToolOutput};
use ephyr_names::{RoleName, TargetName};
use ephyr_policy::{Purpose, SshAction};
use serde::{Deserialize, Serialize};

use super::answer::{DecisionView, ReceiptView, denied};
use crate::broker::Broker;
use crate::clock;
use crate::records::action_info;
use crate::run_command::{self, Encoding, Outcome, RunError, Terms, Written};

/// The tool's arguments, already checked against its schema.
#[derive(Deserialize)]
pub(super) struct Arguments {
    target: String,
    role: String,
    command: String,
    #[serde(default = "default_timeout")]
    timeout: u64,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default)]
    dry_run: bool,
}

fn default_timeout() -> u64 {
    30
}

#[derive(Serialize)]
struct Ran<'a> {
    #[serde(flatten)]
    written: Written<'a>,
    exit_code: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    timed_out: bool,
    target: &'a TargetName,
    role: &'a RoleName,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptView>,
}

#[derive(Serialize)]
struct DryRun<'a> {
    target: &'a TargetName,
    role: &'a RoleName,
    decision: DecisionView<'a>,
}

/// Runs the tool.
pub(super) async fn run(
    broker: std::sync::Arc<Broker>,
    caller: AgentCaller,
    arguments: Arguments,
    context: CallContext,
) -> Result<ToolOutput, ToolError> {
    let bad = |error: ephyr_names::NameError| ToolError::bad_arguments(error.to_string());
    let action = SshAction {
        target: arguments.target.parse().map_err(bad)?,
        role: arguments.role.parse().map_err(bad)?,
        purpose: Purpose::Exec {
            command: arguments.command,
        },
        ttl: None,
    };
    if arguments.dry_run {
        return dry_run(&broker, &caller, &action);
    }
    let encoding = arguments.encoding;
    let terms = Terms {
        timeout: Duration::from_secs(arguments.timeout),
        encoding,
    };
    match run_command::run(&broker, &caller, &action, terms, context).await {
        Ok(outcome) => Ok(ToolOutput::json(&view(&action, &outcome, encoding))?),
        Err(failed) => match &failed.error {
            RunError::Denied(denial) => Err(denied(denial)),
            _ => Err(ToolError::with_details(
                failed.message(encoding),
                &failed.details(encoding),
            )?),
        },
    }
}

fn dry_run(
    broker: &Broker,
    caller: &AgentCaller,
    action: &SshAction,
) -> Result<ToolOutput, ToolError> {
    let policy = broker.policy();
    let (target, role) = (action.target.clone(), action.role.clone());
    let info = action_info(action);
    let decided = broker
        .gate()
        .preview(&policy, caller.subject(), action, clock::now());
    let decision = match &decided {
        Ok(granted) => DecisionView::allowed(granted.ttl()),
        Err(denial) => DecisionView::denied(denial),
    };
    let record = broker
        .record(Event::Read, caller)
        .with_detail("dry_run", "true");
    broker.audit().note(ephyr_audit::Record {
        action: Some(info),
        ..record
    });
    Ok(ToolOutput::json(&DryRun {
        target: &target,
        role: &role,
        decision,
    })?)
}

fn view<'a>(action: &'a SshAction, outcome: &'a Outcome, encoding: Encoding) -> Ran<'a> {
    Ran {
        written: outcome.written(encoding),
        exit_code: outcome.exit_code(),
        signal: outcome.signal(),
        timed_out: outcome.timed_out(),
        target: &action.target,
        role: &action.role,
        duration_ms: outcome.duration_ms,
        receipt: outcome.receipt.as_ref().map(ReceiptView::of),
    }
}
