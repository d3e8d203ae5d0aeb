//! The appliance's systemd units.
//!
//! What the units say stands in one table, `nixos-module/units.toml`, which is part of this crate and
//! which the NixOS module reads too. This crate fills it in for one host and writes it as unit files,
//! with the users, groups and directories that they need, for systems without Nix. It does no I/O.
//!
//! ```text
//! settings   what differs from host to host, checked
//!   table      the table: units, base, agents, users
//!   compose    base + unit + settings -> one unit's sections
//!   files      sections -> unit files, sysusers.d, tmpfiles.d
//! ```

mod compose;
mod files;
mod settings;
mod table;

pub use compose::{Section, Units, compose};
pub use files::{File, HEADER, RenderError, render};
pub use settings::{Agent, Credential, Egress, Fault, Settings};
pub use table::{TABLE, Table, TableError, Value};
