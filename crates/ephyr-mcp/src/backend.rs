//! The interface that a program implements to be served over MCP.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use crate::output::{ToolError, ToolOutput};
use crate::resource::{ResourceError, ResourceSet, ResourceText};
use crate::tool::ToolSet;

/// The program that a [`Server`](crate::Server) serves: its tools, resources and callers.
///
/// The server calls [`call`](Self::call) only with arguments that passed the tool's input schema, and
/// only for a tool in the caller's own [`tools`](Self::tools). Neither replaces the authorisation of
/// the call itself.
pub trait Backend: Send + Sync + Sized + 'static {
    /// An authenticated caller.
    type Caller: Clone + Send + Sync + 'static;

    /// The handler of one tool's calls.
    type Handler: Send + Sync + 'static;

    /// Returns the caller's identity. MCP sessions and cancellation are confined to one identity.
    fn caller_key<'a>(&self, caller: &'a Self::Caller) -> Cow<'a, str>;

    /// Returns the server's name and version.
    fn info(&self) -> &ServerInfo;

    /// Returns the instructions for the model, sent with `initialize` and `server/discover`.
    fn instructions(&self) -> Option<&str>;

    /// Returns the tools that this caller may list and call.
    fn tools(&self, caller: &Self::Caller) -> ToolSet<Self::Handler>;

    /// Calls a tool. Return [`Call::Done`] if the answer is available at once, which saves a task and a
    /// channel, and [`Call::run`] if the work has to wait.
    fn call(
        self: &Arc<Self>,
        caller: &Self::Caller,
        handler: &Self::Handler,
        arguments: &RawValue,
    ) -> Call;

    /// Returns the resources that this caller may list.
    fn resources(&self, caller: &Self::Caller) -> ResourceSet;

    /// Reads a resource.
    ///
    /// # Errors
    /// [`ResourceError::NotFound`] if the caller may not read it or it does not exist.
    fn read_resource(
        self: &Arc<Self>,
        caller: &Self::Caller,
        uri: &str,
    ) -> impl Future<Output = Result<ResourceText, ResourceError>> + Send;
}

/// The protocol's `Implementation`: the name and version of a server or client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// The program's name.
    pub name: Cow<'static, str>,
    /// The display name.
    pub title: Cow<'static, str>,
    /// The program's version.
    pub version: Cow<'static, str>,
}

pub(crate) type Answer = Result<ToolOutput, ToolError>;
type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The result of [`Backend::call`].
pub enum Call {
    /// The call is finished.
    Done(Answer),
    /// Work for a task of its own. It runs to its end even if the caller disconnects, so that it can clean
    /// up and record its outcome; it must observe [`CallContext::cancel`].
    Run(Box<dyn FnOnce(CallContext) -> Work + Send>),
}

impl Call {
    /// Returns a call that runs `work` in a task of its own.
    pub fn run<F, W>(work: F) -> Self
    where
        F: FnOnce(CallContext) -> W + Send + 'static,
        W: Future<Output = Answer> + Send + 'static,
    {
        Self::Run(Box::new(move |context| Box::pin(work(context))))
    }
}

impl From<Answer> for Call {
    fn from(answer: Answer) -> Self {
        Self::Done(answer)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(answer) => f.debug_tuple("Done").field(answer).finish(),
            Self::Run(_) => f.write_str("Run"),
        }
    }
}

/// The cancellation and progress channels of a running call.
#[derive(Debug)]
pub struct CallContext {
    /// Signals that the caller cancelled.
    pub cancel: Cancel,
    /// Sends progress to the caller.
    pub progress: Progress,
}

/// A cancellation signal: set when the caller cancels, or disconnects in a version where that cancels.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    pub(crate) fn new(receiver: watch::Receiver<bool>) -> Self {
        Self(receiver)
    }

    /// Returns whether the caller has cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the caller cancels; never returns if it does not.
    pub async fn cancelled(&mut self) {
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns the underlying channel.
    #[must_use]
    pub fn into_receiver(self) -> watch::Receiver<bool> {
        self.0
    }
}

/// Sends progress notifications, if the caller requested them.
#[derive(Debug, Clone)]
pub struct Progress(Option<mpsc::Sender<Event>>);

/// A message from running work to its response.
#[derive(Debug)]
pub(crate) enum Event {
    /// A progress message.
    Progress(String),
    /// The answer; always the last event.
    Done(Answer),
}

impl Progress {
    pub(crate) fn new(events: Option<mpsc::Sender<Event>>) -> Self {
        Self(events)
    }

    /// Returns whether a caller receives progress; if not, there is no need to build a message.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.0.as_ref().is_some_and(|events| !events.is_closed())
    }

    /// Sends a message. Waits while the caller is slow to read; returns at once if none receives it.
    pub async fn report(&self, message: impl Into<String>) {
        if let Some(events) = &self.0 {
            // The channel closes when the caller disconnects; `cancel` reports that.
            events.send(Event::Progress(message.into())).await.ok();
        }
    }

    /// Sends a message if the queue has room. Returns false if the message was dropped.
    #[must_use]
    pub fn try_report(&self, message: impl Into<String>) -> bool {
        self.0
            .as_ref()
            .is_some_and(|events| events.try_send(Event::Progress(message.into())).is_ok())
    }
}
