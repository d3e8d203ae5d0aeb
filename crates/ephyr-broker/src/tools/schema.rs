//! Parts of declarations that several tools share.

use ephyr_mcp::Effects;
use ephyr_mcp::schema::{Object, Schema};

/// The effects of a tool that adds to the broker's state without changing existing items.
pub(super) const MAKES: Effects = Effects {
    read_only_hint: false,
    destructive_hint: false,
    idempotent_hint: false,
    open_world_hint: false,
};

/// Returns the schema of a name from the policy.
pub(super) fn name(what: &'static str) -> Schema {
    Schema::string(1..=63).describe(what)
}

/// Returns the schema of a text of any length.
pub(super) fn text(what: &'static str) -> Schema {
    Schema::string(0..=usize::MAX).describe(what)
}

/// Returns the schema of a timestamp.
pub(super) fn time(what: &'static str) -> Schema {
    Schema::string(20..=24).describe(what)
}

/// Returns the schema of the argument `dry_run`.
pub(super) fn dry_run() -> Schema {
    Schema::boolean()
        .default_value(&false)
        .describe("true: nothing is done, only the decision is given")
}

/// Returns the schema of a decision in a result.
pub(super) fn decision() -> Schema {
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

/// Returns the schema of a receipt in a result.
pub(super) fn receipt() -> Schema {
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

/// Returns the members of the result of a tool that creates a task.
pub(super) fn created() -> Object {
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

/// Returns the schema of the argument `holder_pub_key`.
pub(super) fn holder_key() -> Schema {
    Schema::string(43..=43)
        .describe("an Ed25519 public key, base64url: the token then needs Ephyr-Proof by it")
}

/// Returns the members of a task in a result.
pub(super) fn task_members() -> Object {
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
