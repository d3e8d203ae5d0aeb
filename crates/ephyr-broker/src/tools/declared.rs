//! The tools as agents see them: what each takes, gives and does to the world.

use std::sync::LazyLock;

use ephyr_mcp::schema::{Object, Schema};
use ephyr_mcp::{Effects, Tool, ToolSet};
use ephyr_names::MAX_COMMAND_BYTES;

/// All tools of an agent that may use some target.
pub(super) static ALL: LazyLock<ToolSet> = LazyLock::new(|| set(true));
/// The tools of an agent that may use none: those that would only ever refuse are left out.
pub(super) static WITHOUT_TARGETS: LazyLock<ToolSet> = LazyLock::new(|| set(false));

#[expect(
    clippy::expect_used,
    reason = "fixed declarations, looked at by every test that lists tools"
)]
fn set(targets: bool) -> ToolSet {
    let mut tools = Vec::new();
    if targets {
        tools.extend([list_targets(), exec(), list_certs()]);
    }
    tools.extend([
        task_create(),
        task_delegate(),
        task_bind(),
        task_info(),
        task_list(),
        task_revoke(),
    ]);
    ToolSet::new(tools).expect("tool names differ")
}

fn name(what: &'static str) -> Schema {
    Schema::string(1..=63).describe(what)
}

fn text(what: &'static str) -> Schema {
    Schema::string(0..=usize::MAX).describe(what)
}

fn time(what: &'static str) -> Schema {
    Schema::string(20..=24).describe(what)
}

fn dry_run() -> Schema {
    Schema::boolean()
        .default_value(&false)
        .describe("true: nothing is done, only the decision is given")
}

fn decision() -> Schema {
    let object = Object::new()
        .required("allowed", Schema::boolean())
        .optional(
            "step",
            Schema::integer(1..=8).describe("the step of the decision that refused"),
        )
        .optional("reason", text("why, in a word"))
        .optional("rule", text("the rule that refused"))
        .optional("message", text("why, in a sentence"))
        .optional("ttl_seconds", Schema::integer(0..=i64::MAX))
        .optional(
            "alternatives",
            Schema::array(text("what could be asked for instead"), 0..=usize::MAX),
        )
        .open();
    Schema::object(object).describe("what the policy says")
}

fn receipt() -> Schema {
    let object = Object::new()
        .required("record", text("the audit record of the attempt"))
        .required("record_hash", text("its hash in the log's chain"))
        .required(
            "certificate",
            text("the delegation certificate whose key signed"),
        )
        .required("signature", text("Ed25519, base64url"))
        .required(
            "text",
            text("all of it in one word, for `ephyr audit receipt`"),
        );
    Schema::object(object).describe("proof that the call was recorded before it took effect")
}

fn list_targets() -> Tool {
    let target = Object::new()
        .required("name", name("what to call it in other tools"))
        .required("host", text("its DNS name or address"))
        .required("port", Schema::integer(1..=65535))
        .optional("vlan", Schema::integer(0..=4095))
        .required(
            "roles",
            Schema::array(name("a role you may take on it"), 1..=usize::MAX),
        )
        .required("description", text("what it is"))
        .required(
            "enabled",
            Schema::boolean().describe("false: an operator switched it off"),
        )
        .open();
    let output = Object::new()
        .required(
            "targets",
            Schema::array(Schema::object(target), 0..=usize::MAX),
        )
        .open();
    let about = "List the SSH hosts you may use, with the roles you may take on each.";
    Tool::new("list_targets", about, Object::new())
        .title("List targets")
        .output(output)
        .effects(Effects::READS)
}

fn exec() -> Tool {
    let input = Object::new()
        .required("target", name("a target from list_targets"))
        .required("role", name("one of its roles"))
        .required(
            "command",
            // Counts characters; the decision path counts bytes.
            Schema::string(1..=MAX_COMMAND_BYTES).describe(
                "the command line, run by the account's login shell; it reads no standard input",
            ),
        )
        .optional(
            "timeout",
            Schema::integer(1..=300)
                .default_value(&30)
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
    Tool::new("exec", about, input)
        .title("Run a command")
        .output(output)
        .effects(Effects {
            read_only_hint: false,
            destructive_hint: true,
            idempotent_hint: false,
            open_world_hint: true,
        })
}

fn list_certs() -> Tool {
    let cert = Object::new()
        .required("serial", text("the certificate's serial"))
        .required("target", name("the target"))
        .required("role", name("the role"))
        .required("principal", text("what it opens"))
        .required("kind", text("exec, session or user"))
        .required("expires_at", time("when it ends"))
        .open();
    let output = Object::new()
        .required("certs", Schema::array(Schema::object(cert), 0..=usize::MAX))
        .open();
    let about = "List the certificates that are out for you at this moment.";
    Tool::new("list_certs", about, Object::new())
        .title("List certificates")
        .output(output)
        .effects(Effects::READS)
}

fn task_create() -> Tool {
    let input = Object::new()
        .required(
            "description",
            Schema::string(1..=1024).describe("what the task is for; it stands in the audit log"),
        )
        .optional(
            "ttl",
            Schema::string(2..=16)
                .default_value(&"30m")
                .describe("how long it lives, such as 45m; at most 1h"),
        )
        .optional(
            "can_delegate",
            Schema::boolean()
                .default_value(&false)
                .describe("whether the task may have children"),
        )
        .optional(
            "holder_pub_key",
            Schema::string(43..=43).describe(
                "an Ed25519 public key, base64url: the token then needs Ephyr-Proof by it",
            ),
        )
        .optional("envelope", super::narrowing::schema())
        .optional("dry_run", dry_run());
    let output = created().optional("decision", decision());
    let about = "Start a task and get its token. What is done with the token is recorded under the task, \
                 and ends when the task is revoked.";
    Tool::new("task_create", about, input)
        .title("Create a task")
        .output(output)
        .effects(MAKES)
}

/// Makes something new inside Ephyr.
const MAKES: Effects = Effects {
    read_only_hint: false,
    destructive_hint: false,
    idempotent_hint: false,
    open_world_hint: false,
};

fn created() -> Object {
    Object::new()
        .optional("task_id", text("the task"))
        .optional(
            "token",
            text("its token: Authorization: Bearer <token>; keep it secret"),
        )
        .optional("token_type", text("macaroon"))
        .optional("expires_at", time("when task and token end"))
        .optional("ttl_seconds", Schema::integer(0..=i64::MAX))
        .optional("can_delegate", Schema::boolean())
        .optional("holder_bound", Schema::boolean())
        .optional(
            "envelope",
            Schema::object(Object::new().open()).describe("what the token allows at most"),
        )
        .optional("receipt", receipt())
        .optional("bind_deadline", time("until when task_bind must be called"))
        .optional("agent", name("whose task it is"))
        .open()
}

fn holder_key() -> Schema {
    Schema::string(43..=43)
        .describe("an Ed25519 public key, base64url: the token then needs Ephyr-Proof by it")
}

fn task_delegate() -> Tool {
    let input = Object::new()
        .optional("parent_task_id", Schema::string(26..=26).describe("the task of your token, which is the default"))
        .optional("agent", name("whose the child is; your own agent if left out"))
        .required("description", Schema::string(1..=1024).describe("what the child is for"))
        .optional("ttl", Schema::string(2..=16).describe("how long it lives, at most as long as its parent; 10m or the parent's rest if left out"))
        .optional("envelope", super::narrowing::schema())
        .optional("can_delegate", Schema::boolean().default_value(&false).describe("whether it may have children"))
        .optional("holder_pub_key", holder_key())
        .optional(
            "must_bind",
            Schema::boolean()
                .default_value(&false)
                .describe("true: without holder_pub_key the child must call task_bind within 30 s, and can do nothing before"),
        )
        .optional("dry_run", dry_run());
    let about = "Make a task below your token's own, with no more authority than it, for yourself or for an \
                 agent that takes your delegations. Needs the token of a task that may delegate.";
    Tool::new("task_delegate", about, input)
        .title("Delegate a task")
        .output(created().optional("decision", decision()))
        .effects(MAKES)
}

fn task_bind() -> Tool {
    let input = Object::new()
        .required(
            "task_id",
            Schema::string(26..=26).describe("the task of your token"),
        )
        .required("holder_pub_key", holder_key());
    let output = Object::new()
        .required("task_id", text("the task"))
        .required("bound", Schema::boolean())
        .required("bound_at", time("when it was bound"))
        .required(
            "token",
            text("the token from here on; the one before is dead"),
        )
        .required("token_type", text("macaroon"))
        .required("expires_at", time("when task and token end"))
        .required("agent", name("whose task it is"))
        .optional("receipt", receipt())
        .open();
    let about = "Bind your token's task to a key of yours, proven by Ephyr-Proof on this very request. \
                 Binding again with the same key gives the same answer.";
    let effects = Effects {
        idempotent_hint: true,
        ..MAKES
    };
    Tool::new("task_bind", about, input)
        .title("Bind a task to a key")
        .output(output)
        .effects(effects)
}

fn task_members() -> Object {
    Object::new()
        .required("id", text("the task"))
        .required("description", text("what it is for"))
        .required("agent", name("whose it is"))
        .required("created_at", time("when it was created"))
        .required("expires_at", time("when it ends"))
        .required(
            "remaining_ttl",
            Schema::integer(0..=i64::MAX).describe("seconds left"),
        )
        .required("is_revoked", Schema::boolean())
        .required("holder_bound", Schema::boolean())
        .required("depth", Schema::integer(0..=5))
        .required("root", text("the root of its tree"))
        .optional("parent", text("the task above it"))
        .open()
}

fn task_info() -> Tool {
    let input = Object::new().optional(
        "task_id",
        Schema::string(26..=26).describe("the task; without it the one of your token"),
    );
    let task = task_members()
        .required("lineage", Schema::array(text("a task"), 1..=6))
        .required("can_delegate", Schema::boolean())
        .required("envelope", Schema::object(Object::new().open()));
    let output = Object::new().required("task", Schema::object(task)).open();
    let about = "Show one of your tasks: its life, lineage and envelope.";
    Tool::new("task_info", about, input)
        .title("Show a task")
        .output(output)
        .effects(Effects::READS)
}

fn task_list() -> Tool {
    let output = Object::new()
        .required(
            "tasks",
            Schema::array(Schema::object(task_members()), 0..=usize::MAX),
        )
        .required(
            "count",
            Schema::integer(0..=i64::MAX).describe("how many there are"),
        )
        .required(
            "truncated",
            Schema::boolean().describe("true: only the newest are listed"),
        )
        .open();
    let about = "List your live tasks; with a token, the token's own task and those below it.";
    Tool::new("task_list", about, Object::new())
        .title("List tasks")
        .output(output)
        .effects(Effects::READS)
}

fn task_revoke() -> Tool {
    let input = Object::new()
        .required("task_id", Schema::string(26..=26).describe("the task"))
        .optional("dry_run", dry_run());
    let output = Object::new()
        .required("task_id", text("the task"))
        .required("revoked", Schema::boolean())
        .required(
            "cascade_count",
            Schema::integer(0..=i64::MAX).describe("how many tasks fell, itself included"),
        )
        .required("status", text("what it means"))
        .optional(
            "tasks",
            Schema::array(text("a task that would fall; 1000 at most"), 0..=usize::MAX),
        )
        .optional("truncated", Schema::boolean())
        .optional(
            "ended_actions",
            Schema::integer(0..=i64::MAX).describe("running commands that were ended"),
        )
        .optional("receipt", receipt())
        .open();
    let about = "Revoke a task and all below it: their tokens are dead at once and what runs for them is ended.";
    Tool::new("task_revoke", about, input)
        .title("Revoke a task")
        .output(output)
        .effects(Effects {
            read_only_hint: false,
            destructive_hint: true,
            idempotent_hint: true,
            open_world_hint: false,
        })
}
