//! The tool `list_certs` and `GET /v1/certs`.

use std::borrow::Cow;

use ephyr_names::{RoleName, Serial, TargetName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::tool::ToolArguments;

/// The arguments of `list_certs`: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListCertsArguments {}

impl ToolArguments for ListCertsArguments {
    const TOOL: &'static str = "list_certs";
    type Result = CertificateList<'static>;

    fn may_act(&self) -> bool {
        false
    }
}

/// The caller's valid certificates; with a token, those of its task and the tasks below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateList<'a> {
    /// The certificates.
    pub certs: Vec<CertificateView<'a>>,
}

/// A valid certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView<'a> {
    /// The serial.
    pub serial: Serial,
    /// The target.
    pub target: TargetName,
    /// The role.
    pub role: RoleName,
    /// The principal that it logs in as.
    pub principal: String,
    /// Its purpose: `exec`, `session`, `user` or `check`.
    pub kind: Cow<'a, str>,
    /// Its expiry.
    pub expires_at: Timestamp,
}
