//! Tools: how one is declared, and the set of them that a caller sees.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::page::Pages;
use crate::schema::{ArgumentError, Object};
use crate::suggest::closest;

/// A tool as declared: name, words for people and models, what it takes and what it gives.
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

/// What a tool does to the world, as hints to the client (`ToolAnnotations` of the protocol).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the protocol's four independent hints"
)]
pub struct Effects {
    /// Changes nothing.
    pub read_only_hint: bool,
    /// May destroy something. Means something only when not read-only.
    pub destructive_hint: bool,
    /// A second call with the same arguments changes nothing more.
    pub idempotent_hint: bool,
    /// Reaches beyond the server, to systems that others change too.
    pub open_world_hint: bool,
}

impl Effects {
    /// Looks, and changes nothing.
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

    /// Gives it a name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<Cow<'static, str>>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Declares its structured result. Clients refuse a result that does not fit.
    #[must_use]
    pub fn output(mut self, output: Object) -> Self {
        self.output_schema = Some(output);
        self
    }

    /// Says what it does to the world.
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

    /// What it is for.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What it declared as its structured result.
    #[must_use]
    pub fn output_schema(&self) -> Option<&Object> {
        self.output_schema.as_ref()
    }

    /// Checks arguments against what the tool takes; none at all count as an empty object.
    ///
    /// # Errors
    /// The first argument that does not fit.
    pub fn check(&self, arguments: Option<&RawValue>) -> Result<(), ArgumentError> {
        self.input_schema
            .check(arguments.unwrap_or_else(|| no_arguments()))
    }
}

/// The empty object: what a call without arguments stands for.
#[must_use]
#[expect(clippy::expect_used, reason = "two characters that are JSON")]
pub fn no_arguments() -> &'static RawValue {
    static EMPTY: LazyLock<Box<RawValue>> =
        LazyLock::new(|| RawValue::from_string("{}".to_owned()).expect("an empty object"));
    &EMPTY
}

/// The tools that a caller sees, each with the program's handler, serialised once. A tool without a handler cannot be
/// declared. Cheap to clone.
#[derive(Debug)]
pub struct ToolSet<H>(Arc<Inner<H>>);

#[derive(Debug)]
struct Inner<H> {
    tools: Vec<Tool>,
    /// In the order of the tools.
    handlers: Vec<H>,
    by_name: HashMap<Cow<'static, str>, usize>,
    pages: Pages,
}

impl<H> ToolSet<H> {
    /// Serialises the tools in the order given.
    ///
    /// # Errors
    /// Two tools with one name.
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

/// Why tools make no set. Whoever declared them is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ToolSetError {
    /// Two have the same name.
    #[error("two tools are called {0:?}")]
    Duplicate(String),
    /// One cannot be serialised.
    #[error("a tool is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}
