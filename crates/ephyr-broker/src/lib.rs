//! The network side of Ephyr: who asks, whether it is allowed, and the doing of it.
//!
//! Read it from the outside in: [`http`] takes connections and finds the caller ([`auth`]); [`tools`]
//! (MCP) and [`api`] (Unix socket) say what is wanted; [`gate`] decides, and nothing reaches a target
//! without the permit that it gives; [`run_command`] and [`certificate`] do it, each with its attempt on
//! disk before ([`audit`]); [`state`] is what outlives a restart; [`background`] and [`reload`] are what
//! happens by itself.

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
