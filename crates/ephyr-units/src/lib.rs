//! The appliance's systemd units.
//!
//! Their directives are in one table, `nixos-module/units.toml`, which is compiled into this crate and which the NixOS
//! module reads too. For systems without Nix, this crate fills the table in for one host and renders unit files, users,
//! groups and directories. It does no I/O.
//!
//! ```text
//! settings   the checked settings of one host
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
