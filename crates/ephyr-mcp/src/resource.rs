//! Resources: their listing and their contents.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::page::Pages;

/// A resource as listed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// The URI to read it by.
    pub uri: Cow<'static, str>,
    /// The short name.
    pub name: Cow<'static, str>,
    /// The description.
    pub description: Cow<'static, str>,
    /// The media type.
    pub mime_type: Cow<'static, str>,
}

/// The serialised list of a caller's resources. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResourceSet(Arc<Pages>);

impl ResourceSet {
    /// Serialises the resources in the order given.
    ///
    /// # Errors
    /// Serialisation failed, which does not happen with the current [`Resource`].
    pub fn new(resources: &[Resource]) -> serde_json::Result<Self> {
        Ok(Self(Arc::new(Pages::new(resources)?)))
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.0
    }
}

/// A resource as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceText {
    /// The media type.
    pub mime_type: Cow<'static, str>,
    /// The text.
    pub text: String,
}

/// Why a resource cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceError {
    /// The resource does not exist or the caller may not read it; the two must be indistinguishable.
    NotFound,
    /// The server failed. The text is shown to the caller.
    Internal(String),
}
