//! The wire format of the broker's two interfaces: the arguments, results and failures of the MCP tools, and the
//! requests and answers of `/v1` on the Unix socket.
//!
//! Every type serializes and deserializes, so the broker, the CLI and tests share one definition. The order of a
//! type's fields is the order of its members on the wire.
//!
//! - Results borrow (`Cow`) from the broker's memory and are owned once deserialized.
//! - Readers ignore unknown members of results, so an older client understands a newer broker. The broker rejects
//!   unknown members of requests: for tools by their input schema, for `/v1` by the types here.
//! - Reasons and codes are text, so that a client can show one that it does not know.
//!
//! The crate is pure: no I/O, no clock, no policy.

mod certificates;
mod decision;
mod envelope;
mod exec;
mod failure;
mod receipt;
mod secret;
mod targets;
mod tasks;
mod tool;
pub mod v1;

pub use certificates::{CertificateList, CertificateView, ListCertsArguments};
pub use decision::{Decision, DenialDetails};
pub use envelope::EnvelopeJson;
pub use exec::{
    CommandOutput, CommandResult, DEFAULT_TIMEOUT, Encoding, ExecArguments, ExecFailure,
    ExecPreview, MAX_TIMEOUT,
};
pub use failure::{FailureDetails, FailureReason};
pub use receipt::ReceiptView;
pub use secret::SecretText;
pub use targets::{ListTargetsArguments, TargetList, TargetView};
pub use tasks::{
    BoundTask, CreatedTask, DEFAULT_TTL, RevokedTask, TOKEN_TYPE, TaskBindArguments,
    TaskCreateArguments, TaskDelegateArguments, TaskDetails, TaskInfo, TaskInfoArguments, TaskList,
    TaskListArguments, TaskPreview, TaskRevokeArguments, TaskSummary,
};
pub use tool::{DryRun, ToolArguments};
