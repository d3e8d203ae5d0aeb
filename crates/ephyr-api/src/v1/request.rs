//! `POST /v1/request`: a certificate for an agent's own SSH client.

use std::borrow::Cow;
use std::ops::Not;

use ephyr_names::{RoleName, Serial, TargetName, Timestamp, Ttl};
use serde::{Deserialize, Serialize};

/// The body of `POST /v1/request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// The target.
    pub target: TargetName,
    /// The role.
    pub role: RoleName,
    /// The lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Ttl>,
    /// The key to certify, an OpenSSH `ssh-ed25519` line.
    pub public_key: String,
    /// Whether only the decision is requested.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub dry_run: bool,
}

/// An issued certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedCertificate<'a> {
    /// `granted`.
    pub status: Cow<'a, str>,
    /// The certificate, an OpenSSH line.
    pub certificate: Cow<'a, str>,
    /// The serial.
    pub serial: Serial,
    /// The principal that it logs in as.
    pub principal: String,
    /// The account on the target.
    pub account: Cow<'a, str>,
    /// The target's DNS name or address.
    pub host: Cow<'a, str>,
    /// The port of its SSH server.
    pub port: u16,
    /// The certificate's expiry.
    pub expires_at: Timestamp,
}

/// The answer to a dry run that would be granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestPreview<'a> {
    /// `allowed`.
    pub status: Cow<'a, str>,
    /// The lifetime that the certificate would have, in seconds.
    pub ttl_seconds: u64,
}
