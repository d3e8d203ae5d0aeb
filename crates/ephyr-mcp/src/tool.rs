//! Tool declarations, and the set of tools of a caller.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::page::Pages;
use crate::schema::{ArgumentError, Object};
use crate::suggest::closest;

/// A tool declaration: name, description, input and output schemas.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    name: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<Cow<'static, str>>,
    description: Cow<'static, str>,
    input_schema: Object,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<Object>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Effects>,
}

/// The protocol's `ToolAnnotations`: hints to the client about a tool's effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the protocol's four independent hints"
)]
pub struct Effects {
    /// The tool changes nothing.
    pub read_only_hint: bool,
    /// The tool may destroy something. Relevant only if it is not read-only.
    pub destructive_hint: bool,
    /// A second call with the same arguments changes nothing more.
    pub idempotent_hint: bool,
    /// The tool interacts with systems outside of the server.
    pub open_world_hint: bool,
}

impl Effects {
    /// The hints of a read-only tool.
    pub const READS: Self = Self {
        read_only_hint: true,
        destructive_hint: false,
        idempotent_hint: true,
        open_world_hint: false,
    };
}

impl Tool {
    /// Declares a tool.
    #[must_use]
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
        input: Object,
    ) -> Self {
        Self {
            name: name.into(),
            title: None,
            description: description.into(),
            input_schema: input,
            output_schema: None,
            annotations: None,
        }
    }

    /// Sets the display name.
    #[must_use]
    pub fn title(mut self, title: impl Into<Cow<'static, str>>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Declares the schema of the structured result. Clients reject a result that does not match.
    #[must_use]
    pub fn output(mut self, output: Object) -> Self {
        self.output_schema = Some(output);
        self
    }

    /// Sets the annotations.
    #[must_use]
    pub fn effects(mut self, effects: Effects) -> Self {
        self.annotations = Some(effects);
        self
    }

    /// The tool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tool's description.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The schema of the structured result, if declared.
    #[must_use]
    pub fn output_schema(&self) -> Option<&Object> {
        self.output_schema.as_ref()
    }

    /// Checks arguments against the input schema; `None` counts as an empty object.
    ///
    /// # Errors
    /// The first invalid argument.
    pub fn check(&self, arguments: Option<&RawValue>) -> Result<(), ArgumentError> {
        self.input_schema
            .check(arguments.unwrap_or_else(|| no_arguments()))
    }
}

/// Returns the empty object, the arguments of a call that has none.
#[must_use]
#[expect(clippy::expect_used, reason = "two characters that are JSON")]
pub fn no_arguments() -> &'static RawValue {
    static EMPTY: LazyLock<Box<RawValue>> =
        LazyLock::new(|| RawValue::from_string("{}".to_owned()).expect("an empty object"));
    &EMPTY
}

/// The tools of a caller, each with its handler, and their serialised list. Cheap to clone.
#[derive(Debug)]
pub struct ToolSet<H>(Arc<Inner<H>>);

#[derive(Debug)]
struct Inner<H> {
    tools: Vec<Tool>,
    /// In the same order as `tools`.
    handlers: Vec<H>,
    by_name: HashMap<Cow<'static, str>, usize>,
    pages: Pages,
}

impl<H> ToolSet<H> {
    /// Serialises the tools in the order given.
    ///
    /// # Errors
    /// Two tools have the same name.
    pub fn new(tools: impl IntoIterator<Item = (Tool, H)>) -> Result<Self, ToolSetError> {
        let (tools, handlers): (Vec<Tool>, Vec<H>) = tools.into_iter().unzip();
        let mut by_name = HashMap::with_capacity(tools.len());
        for (at, tool) in tools.iter().enumerate() {
            if by_name.insert(tool.name.clone(), at).is_some() {
                return Err(ToolSetError::Duplicate(tool.name.clone().into_owned()));
            }
        }
        let pages = Pages::new(&tools)?;
        Ok(Self(Arc::new(Inner {
            tools,
            handlers,
            by_name,
            pages,
        })))
    }

    /// Returns the tool of that name and its handler.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(&Tool, &H)> {
        let &at = self.0.by_name.get(name)?;
        self.0.tools.get(at).zip(self.0.handlers.get(at))
    }

    /// The tools, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Tool> {
        self.0.tools.iter()
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.0.pages
    }

    pub(crate) fn closest(&self, name: &str) -> Option<&str> {
        closest(name, self.iter().map(Tool::name))
    }
}

impl<H> Clone for ToolSet<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Why a [`ToolSet`] cannot be built: a fault of the declarations.
#[derive(Debug, thiserror::Error)]
pub enum ToolSetError {
    /// Two tools have the same name.
    #[error("duplicate tool name {0:?}")]
    Duplicate(String),
    /// A tool cannot be serialised.
    #[error("cannot serialise a tool: {0}")]
    NotJson(#[from] serde_json::Error),
}
