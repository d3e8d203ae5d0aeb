//! Receipts in answers.

use ephyr_names::{Digest, RecordId};
use serde::{Deserialize, Serialize};

/// A receipt: the proof that the call was recorded before it took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptView {
    /// The audit record of the attempt.
    pub record: RecordId,
    /// The record's hash in the log's chain.
    pub record_hash: Digest,
    /// The delegation certificate of the signing key.
    pub certificate: Digest,
    /// The Ed25519 signature, base64url without padding.
    pub signature: String,
    /// The whole receipt as text, for `ephyr audit receipt`.
    pub text: String,
}
