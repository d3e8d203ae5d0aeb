//! The task tools.

mod bind;
mod create;
mod delegate;
mod info;
mod list;
mod revoke;
mod summary;

pub use bind::{BoundTask, TaskBindArguments};
pub use create::{CreatedTask, DEFAULT_TTL, TOKEN_TYPE, TaskCreateArguments, TaskPreview};
pub use delegate::TaskDelegateArguments;
pub use info::{TaskDetails, TaskInfo, TaskInfoArguments};
pub use list::{TaskList, TaskListArguments};
pub use revoke::{RevokedTask, TaskRevokeArguments};
pub use summary::TaskSummary;
