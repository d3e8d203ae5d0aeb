//! Resources: what there is to read, and what reading gives.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::page::Pages;

/// A resource as listed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its URI, the name it is read by.
    pub uri: Cow<'static, str>,
    /// A short name.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub description: Cow<'static, str>,
    /// Its media type.
    pub mime_type: Cow<'static, str>,
}

/// The resources that a caller sees, serialised once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResourceSet(Arc<Pages>);

impl ResourceSet {
    /// Serialises the resources in the order given.
    ///
    /// # Errors
    /// Never with [`Resource`] as it is; serialisation could fail in principle.
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
    /// Its media type.
    pub mime_type: Cow<'static, str>,
    /// Its text.
    pub text: String,
}

/// Why a resource cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceError {
    /// There is none of that URI, or not for this caller: the two must look alike.
    NotFound,
    /// The fault is the server's. The text must hold nothing that a caller may not see.
    Internal(String),
}
