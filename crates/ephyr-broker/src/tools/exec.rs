//! `exec`: runs one command on one target, with a certificate issued for it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ephyr_api::{
    CommandResult, DEFAULT_TIMEOUT, Decision, Encoding, ExecArguments, ExecPreview, MAX_TIMEOUT,
    ToolArguments as _,
};
use ephyr_audit::Event;
use ephyr_core::caller::AgentCaller;
use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{CallContext, Effects, Tool, ToolError, ToolOutput};
use ephyr_names::MAX_COMMAND_BYTES;
use ephyr_policy::{Purpose, SshAction};

use super::answer::{self, denial_details, denied};
use super::schema::{decision, dry_run, name, receipt, text};
use super::tool::{BrokerTool, work};
use crate::broker::Broker;
use crate::clock;
use crate::records::action_info;
use crate::run_command::{self, Outcome, RunError, Terms};

pub(super) const TOOL: BrokerTool = BrokerTool {
    declare,
    needs_targets: true,
    allowed_unbound: false,
    handle: |broker, caller, arguments| work(broker, caller, arguments, run),
};

fn declare() -> Tool {
    let input = Object::new()
        .required("target", name("a target from list_targets"))
        .required("role", name("one of its roles"))
        .required(
            "command",
            Schema::string(1..=MAX_COMMAND_BYTES).describe(
                "the command line, run by the account's login shell; it reads no standard input",
            ),
        )
        .optional(
            "timeout",
            Schema::integer(1..=MAX_TIMEOUT.cast_signed())
                .default_value(&DEFAULT_TIMEOUT)
                .describe("seconds after which the command is ended"),
        )
        .optional(
            "encoding",
            Schema::one_of(["text", "base64"])
                .default_value(&"text")
                .describe(
                    "encoding of the output; base64 keeps every byte, also in progress messages",
                ),
        )
        .optional("dry_run", dry_run());
    let output = Object::new()
        .optional("stdout", text("what it wrote to standard output"))
        .optional("stderr", text("what it wrote to standard error"))
        .optional("encoding", text("base64, if requested"))
        .optional("stdout_bytes", Schema::integer(0..=i64::MAX))
        .optional("stderr_bytes", Schema::integer(0..=i64::MAX))
        .optional(
            "stdout_lossy",
            Schema::boolean().describe("true: bytes that are not UTF-8 were replaced"),
        )
        .optional("stderr_lossy", Schema::boolean())
        .optional(
            "exit_code",
            Schema::integer(-1..=255)
                .describe("its exit code; -1 when it was ended by a signal or the timeout"),
        )
        .optional("signal", text("the signal that ended it"))
        .optional("timed_out", Schema::boolean())
        .required("target", name("the target"))
        .required("role", name("the role"))
        .optional("duration_ms", Schema::integer(0..=i64::MAX))
        .optional(
            "truncated",
            Schema::boolean().describe("true: there was more output than is kept"),
        )
        .optional("receipt", receipt())
        .optional("decision", decision())
        .open();
    let about = "Run one command on a target, as one of its roles. The login certificate is made for this \
                 command alone. A non-zero exit code is a result, not an error.";
    Tool::new(ExecArguments::TOOL, about, input)
        .title("Run a command")
        .output(output)
        .effects(Effects {
            read_only_hint: false,
            destructive_hint: true,
            idempotent_hint: false,
            open_world_hint: true,
        })
}

async fn run(
    broker: Arc<Broker>,
    caller: AgentCaller,
    arguments: ExecArguments,
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
        return preview(&broker, &caller, &action);
    }
    let encoding = arguments.encoding;
    let terms = Terms {
        timeout: Duration::from_secs(arguments.timeout),
        encoding,
    };
    match run_command::run(&broker, &caller, &action, terms, context).await {
        Ok(outcome) => Ok(ToolOutput::json(&result(&action, &outcome, encoding))?),
        Err(failed) => match &failed.error {
            RunError::Denied(denial) => Err(denied(denial)),
            _ => Err(ToolError::with_details(
                failed.message(encoding),
                &failed.details(encoding),
            )?),
        },
    }
}

/// Answers a dry run, which is recorded as a read.
fn preview(
    broker: &Broker,
    caller: &AgentCaller,
    action: &SshAction,
) -> Result<ToolOutput, ToolError> {
    let policy = broker.policy();
    let decided = broker
        .gate()
        .preview(&policy, caller.subject(), action, clock::now());
    let decision = match &decided {
        Ok(granted) => Decision::allowed(granted.ttl()),
        Err(denial) => Decision::denied(denial_details(denial)),
    };
    let record = broker
        .record(Event::Read, caller)
        .with_detail("dry_run", "true");
    broker.audit().note(ephyr_audit::Record {
        action: Some(action_info(action)),
        ..record
    });
    Ok(ToolOutput::json(&ExecPreview {
        target: Cow::Borrowed(&action.target),
        role: Cow::Borrowed(&action.role),
        decision,
    })?)
}

fn result<'a>(
    action: &'a SshAction,
    outcome: &'a Outcome,
    encoding: Encoding,
) -> CommandResult<'a> {
    CommandResult {
        output: outcome.written(encoding),
        exit_code: outcome.exit_code(),
        signal: outcome.signal().map(Cow::Borrowed),
        timed_out: outcome.timed_out(),
        target: Cow::Borrowed(&action.target),
        role: Cow::Borrowed(&action.role),
        duration_ms: outcome.duration_ms,
        receipt: outcome.receipt.as_ref().map(answer::receipt),
    }
}
