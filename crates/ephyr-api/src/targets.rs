//! The tool `list_targets` and `GET /v1/targets`.

use std::borrow::Cow;

use ephyr_names::{RoleName, TargetName};
use serde::{Deserialize, Serialize};

use crate::tool::ToolArguments;

/// The arguments of `list_targets`: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTargetsArguments {}

impl ToolArguments for ListTargetsArguments {
    const TOOL: &'static str = "list_targets";
    type Result = TargetList<'static>;

    fn may_act(&self) -> bool {
        false
    }
}

/// The targets that the caller may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetList<'a> {
    /// The targets, by name.
    pub targets: Vec<TargetView<'a>>,
}

/// A target that the caller may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView<'a> {
    /// The name.
    pub name: Cow<'a, TargetName>,
    /// The DNS name or address.
    pub host: Cow<'a, str>,
    /// The port of its SSH server.
    pub port: u16,
    /// Its VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The roles that the caller may take on it.
    pub roles: Vec<Cow<'a, RoleName>>,
    /// The description from the policy.
    pub description: Cow<'a, str>,
    /// False if an operator disabled it.
    pub enabled: bool,
}
