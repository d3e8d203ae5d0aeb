//! The broker: authenticates callers, decides on actions by the policy, and executes them.
//!
//! From the outside in: [`http`] routes requests and authenticates the caller ([`auth`]); [`tools`] (MCP) and [`api`]
//! (Unix socket) parse the action; the gate of `ephyr-core` decides, and no target is reached without its permit;
//! [`run_command`] and [`certificate`] execute the action after its attempt is on disk. [`background`] and [`reload`]
//! run independently of requests.

pub mod api;
pub mod auth;
pub mod background;
pub mod broker;
pub mod certificate;
pub mod clock;
pub mod config;
mod deadline;
pub mod http;
pub mod policy;
pub mod reads;
pub mod records;
pub mod reload;
pub mod response;
pub mod run;
pub mod run_command;
#[cfg(test)]
mod sequences;
pub mod sessions;
pub mod tasks;
#[cfg(test)]
mod testing;
pub mod tools;
