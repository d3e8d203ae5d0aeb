//! `ephyr task`: creates, shows, binds and revokes tasks.

mod tree;

use std::process::ExitCode;

use ephyr_api::{
    BoundTask, CreatedTask, DryRun, RevokedTask, TaskBindArguments, TaskCreateArguments,
    TaskDelegateArguments, TaskInfo, TaskInfoArguments, TaskListArguments, TaskPreview,
    TaskRevokeArguments, ToolArguments,
};
use ephyr_names::{RoleName, TargetName, TaskId, Timestamp};
use ephyr_token::NarrowingArguments;
use serde_json::Value;

use crate::args::Task;
use crate::broker::{self, Answer, TIMEOUT};
use crate::endpoint::Endpoint;
use crate::failure::{DENIED, Failure};
use crate::fields::{fields, received_envelope};
use crate::holder::Holder;
use crate::lists::list;
use crate::output::{Output, plain};

pub(crate) fn run(endpoint: &Endpoint, task: &Task, output: &Output) -> Result<ExitCode, Failure> {
    match task {
        Task::Create {
            description,
            ttl,
            can_delegate,
            token_only,
            dry_run,
        } => {
            let holder = endpoint.holder.as_ref();
            let arguments = TaskCreateArguments {
                description: description.clone(),
                ttl: ttl.to_string(),
                can_delegate: *can_delegate,
                // Bound from its creation on, as the policy may require (`require_pop`).
                holder_pub_key: holder.map(Holder::public).transpose()?,
                envelope: None,
                dry_run: false,
            };
            create(endpoint, arguments, *dry_run, *token_only, output)
        }
        Task::Delegate {
            description,
            agent,
            ttl,
            can_delegate,
            must_bind,
            keep,
            token_only,
            dry_run,
        } => {
            let arguments = TaskDelegateArguments {
                parent_task_id: None,
                agent: agent.as_ref().map(ToString::to_string),
                description: description.clone(),
                ttl: ttl.map(|ttl| ttl.to_string()),
                can_delegate: *can_delegate,
                holder_pub_key: None,
                must_bind: *must_bind,
                envelope: narrowing(keep),
                dry_run: false,
            };
            create(endpoint, arguments, *dry_run, *token_only, output)
        }
        Task::Bind { token_only } => show_bound(endpoint, *token_only, output),
        Task::Tree => {
            let answer = call(endpoint, &TaskListArguments {})?;
            output.show(&answer.received, || tree::tree(&answer.value.tasks))?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Info { task } => {
            let task_id = task.map(|task| task.to_string());
            let answer = call(endpoint, &TaskInfoArguments { task_id })?;
            let text = describe(&answer.value)?;
            output.show(&answer.received, || text)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::List => show_list(endpoint, output),
        Task::Revoke { task, dry_run } => revoke(endpoint, *task, *dry_run, output),
    }
}

fn call<A: ToolArguments>(
    endpoint: &Endpoint,
    arguments: &A,
) -> Result<Answer<A::Result>, Failure> {
    broker::call(endpoint, arguments, TIMEOUT)
}

fn preview<A: DryRun>(endpoint: &Endpoint, arguments: A) -> Result<Answer<A::Preview>, Failure> {
    broker::preview(endpoint, arguments, TIMEOUT)
}

/// Creates a task, or shows the preview.
fn create<A>(
    endpoint: &Endpoint,
    arguments: A,
    dry_run: bool,
    token_only: bool,
    output: &Output,
) -> Result<ExitCode, Failure>
where
    A: DryRun<Result = CreatedTask<'static>, Preview = TaskPreview<'static>>,
{
    if dry_run {
        return show_preview(&preview(endpoint, arguments)?, output);
    }
    let answer = call(endpoint, &arguments)?;
    IssuedToken::from(&answer.value).show(&answer.received, token_only, output)
}

/// Returns the restriction to these roles on targets; `None` if there are none, which keeps all.
fn narrowing(keep: &[(TargetName, RoleName)]) -> Option<NarrowingArguments> {
    if keep.is_empty() {
        return None;
    }
    let mut arguments = NarrowingArguments::default();
    let roles = arguments.ssh.get_or_insert_default();
    for (target, role) in keep {
        let roles = roles.entry(target.to_string()).or_default();
        roles.insert(role.to_string());
    }
    Some(arguments)
}

/// Shows the preview of a task. If it would be refused, the exit status is that of a refusal.
fn show_preview(answer: &Answer<TaskPreview<'_>>, output: &Output) -> Result<ExitCode, Failure> {
    let TaskPreview {
        decision, envelope, ..
    } = &answer.value;
    let envelope = envelope.as_ref().map(received_envelope).transpose()?;
    output.show(&answer.received, || {
        if !decision.allowed {
            let text = |text: &Option<_>| text.as_deref().map(plain).unwrap_or_default();
            let (reason, message) = (text(&decision.reason), text(&decision.message));
            return format!("dry run: the task would be refused ({reason}): {message}\n");
        }
        let seconds = decision.ttl_seconds.unwrap_or_default();
        let mut text =
            format!("dry run: the task would be created with a lifetime of {seconds} s\n");
        if let Some(envelope) = envelope {
            text.push_str("and allow, within the policy, at most:\n");
            text.push_str(&envelope);
        }
        text
    })?;
    Ok(if decision.allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DENIED)
    })
}

/// Formats a task as text.
fn describe(info: &TaskInfo<'_>) -> Result<String, Failure> {
    let mut members = serde_json::to_value(&info.task).map_err(Failure::protocol)?;
    // Shown at the end, as a block.
    if let Some(members) = members.as_object_mut() {
        members.remove("envelope");
    }
    let envelope = received_envelope(&info.task.envelope)?;
    Ok(format!("{}envelope:\n{envelope}", fields(&members, 0)))
}

fn show_list(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let answer = call(endpoint, &TaskListArguments {})?;
    list(
        &answer.value.tasks,
        output,
        &answer.received,
        &["TASK", "AGENT", "DEPTH", "LEFT", "STATE", "DESCRIPTION"],
        "you have no tasks",
        |task| {
            let state = if task.is_revoked { "revoked" } else { "live" };
            vec![
                task.id.to_string(),
                task.agent.to_string(),
                task.depth.to_string(),
                format!("{} s", task.remaining_ttl),
                state.to_owned(),
                plain(&task.description),
            ]
        },
    )
}

fn revoke(
    endpoint: &Endpoint,
    task: TaskId,
    dry_run: bool,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let arguments = TaskRevokeArguments {
        task_id: task.to_string(),
        dry_run: false,
    };
    if dry_run {
        let answer = preview(endpoint, arguments)?;
        output.show(&answer.received, || describe_cascade(&answer.value))?;
    } else {
        let answer = call(endpoint, &arguments)?;
        output.show(&answer.received, || match answer.value.cascade_count {
            1 => format!("revoked {task}\n"),
            count => format!("revoked {task} and its descendants: {count} tasks\n"),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Formats the tasks that a revocation would end.
fn describe_cascade(revoked: &RevokedTask<'_>) -> String {
    let count = revoked.cascade_count;
    let mut text = format!("dry run: {count} tasks would be revoked:\n");
    for task in &revoked.tasks {
        text.push_str(&format!("  {task}\n"));
    }
    if revoked.tasks.len() != count {
        text.push_str("  and more\n");
    }
    text
}

/// Binds the token's task to the key of `--holder-key` and shows the new token.
fn show_bound(endpoint: &Endpoint, token_only: bool, output: &Output) -> Result<ExitCode, Failure> {
    if endpoint.holder.is_none() {
        let why = "binding needs a key: create one with `ssh-keygen -t ed25519 -N '' -f FILE` and \
                   pass it with --holder-key FILE";
        return Err(Failure::usage(why));
    }
    let answer = bind_call(endpoint)?;
    let issued = IssuedToken {
        task: answer.value.task_id,
        expires: answer.value.expires_at,
        bind_deadline: None,
        token: answer.value.token.as_str(),
    };
    issued.show(&answer.received, token_only, output)
}

/// The token of a task that was just created or bound.
struct IssuedToken<'a> {
    task: TaskId,
    expires: Timestamp,
    bind_deadline: Option<Timestamp>,
    token: &'a str,
}

impl<'a> From<&'a CreatedTask<'_>> for IssuedToken<'a> {
    fn from(created: &'a CreatedTask<'_>) -> Self {
        Self {
            task: created.task_id,
            expires: created.expires_at,
            bind_deadline: created.bind_deadline,
            token: created.token.as_str(),
        }
    }
}

impl IssuedToken<'_> {
    /// Prints the task with its token, or only the token.
    fn show(
        &self,
        received: &Value,
        token_only: bool,
        output: &Output,
    ) -> Result<ExitCode, Failure> {
        output.show(received, || {
            let token = plain(self.token);
            if token_only {
                return token;
            }
            let (id, end) = (self.task, self.expires);
            let bind = match self.bind_deadline {
                Some(deadline) => format!("bind by: {deadline}\n"),
                None => String::new(),
            };
            format!("task:    {id}\nexpires: {end}\n{bind}token:   {token}\n")
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Binds the endpoint's token to its key and returns the endpoint with the bound token.
///
/// # Errors
/// The endpoint has no token or no key, or the broker refuses.
pub(crate) fn bind(endpoint: Endpoint) -> Result<Endpoint, Failure> {
    let bound = bind_call(&endpoint)?.value;
    endpoint.with_token(bound.token.as_str().to_owned())
}

fn bind_call(endpoint: &Endpoint) -> Result<Answer<BoundTask<'static>>, Failure> {
    let (Some(token), Some(holder)) = (&endpoint.token, &endpoint.holder) else {
        let why = "binding needs the task's token, in EPHYR_TOKEN or --credential-file";
        return Err(Failure::usage(why));
    };
    let explained =
        ephyr_token::explain(token).map_err(|error| Failure::data(error.to_string()))?;
    let task = explained
        .segments
        .last()
        .map_or(explained.root, |segment| segment.task);
    let arguments = TaskBindArguments {
        task_id: task.to_string(),
        holder_pub_key: holder.public()?,
    };
    call(endpoint, &arguments)
}
