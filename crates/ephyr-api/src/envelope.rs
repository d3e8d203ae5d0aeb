//! A token's envelope in answers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An envelope as JSON. The broker stores each task's envelope as text and returns it unchanged;
/// `ephyr_token::Envelope` is its parsed form.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvelopeJson<'a>(Cow<'a, RawValue>);

impl<'a> EnvelopeJson<'a> {
    /// Wraps a JSON text.
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn new(json: &'a str) -> serde_json::Result<Self> {
        let json: &RawValue = serde_json::from_str(json)?;
        Ok(Self(Cow::Borrowed(json)))
    }

    /// Returns the JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for EnvelopeJson<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for EnvelopeJson<'_> {}
