//! Schemas of a tool's arguments and results. The JSON Schema (2020-12) sent to clients and the validation
//! of arguments are derived from the same value.
//!
//! ```
//! use ephyr_mcp::schema::{Object, Schema};
//!
//! let input = Object::new()
//!     .required("target", Schema::string(1..=63).describe("the host to run on"))
//!     .optional("timeout", Schema::integer(1..=300).default_value(&30));
//! let arguments = serde_json::value::to_raw_value(&serde_json::json!({"target": "web", "timeuot": 5}))?;
//! let refused = input.check(&arguments).unwrap_err().to_string();
//! assert_eq!(
//!     refused,
//!     "argument \"timeuot\" is not known; did you mean \"timeout\"? Known are: target, timeout"
//! );
//! # Ok::<(), serde_json::Error>(())
//! ```

mod check;
mod render;
mod types;

pub use check::ArgumentError;
pub use types::{Object, Schema};
