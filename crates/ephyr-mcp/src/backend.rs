//! What the protocol asks of the program behind it.

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

/// The program behind the protocol: its tools, its resources, and who is asking.
///
/// The server calls [`call`](Self::call) only with arguments that passed the tool's input schema, and
/// only for a tool in the caller's own [`tools`](Self::tools). Both are no substitute for deciding
/// whether the caller may do what it asks.
pub trait Backend: Send + Sync + Sized + 'static {
    /// Who is asking, as established before the protocol begins.
    type Caller: Clone + Send + Sync + 'static;

    /// What answers the calls of one tool.
    type Handler: Send + Sync + 'static;

    /// The caller's identity as a text: sessions and cancellation never cross it.
    fn caller_key<'a>(&self, caller: &'a Self::Caller) -> Cow<'a, str>;

    /// Who the server is.
    fn info(&self) -> &ServerInfo;

    /// A few words to the model on how to use the server.
    fn instructions(&self) -> Option<&str>;

    /// The tools that this caller sees.
    fn tools(&self, caller: &Self::Caller) -> ToolSet<Self::Handler>;

    /// Calls a tool by its handler. An answer that is at hand costs no task and no channel ([`Call::Done`]); work that
    /// waits goes into [`Call::run`].
    fn call(
        self: &Arc<Self>,
        caller: &Self::Caller,
        handler: &Self::Handler,
        arguments: &RawValue,
    ) -> Call;

    /// The resources that this caller sees.
    fn resources(&self, caller: &Self::Caller) -> ResourceSet;

    /// Reads a resource.
    ///
    /// # Errors
    /// [`ResourceError::NotFound`] where there is none for this caller.
    fn read_resource(
        self: &Arc<Self>,
        caller: &Self::Caller,
        uri: &str,
    ) -> impl Future<Output = Result<ResourceText, ResourceError>> + Send;
}

/// Who a server or client is: `Implementation` of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// The program's name.
    pub name: Cow<'static, str>,
    /// Its name for people.
    pub title: Cow<'static, str>,
    /// Its version.
    pub version: Cow<'static, str>,
}

pub(crate) type Answer = Result<ToolOutput, ToolError>;
type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A tool call: answered, or work that still has to run.
pub enum Call {
    /// The answer.
    Done(Answer),
    /// Work that runs in a task of its own, to its end even when nobody waits any more, so that it
    /// can clean up and record its outcome. It must heed [`CallContext::cancel`].
    Run(Box<dyn FnOnce(CallContext) -> Work + Send>),
}

impl Call {
    /// Work that waits for something.
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

/// What running work knows of its caller's patience.
#[derive(Debug)]
pub struct CallContext {
    /// Whether the caller still wants the answer.
    pub cancel: Cancel,
    /// The way to tell the caller how it goes.
    pub progress: Progress,
}

/// Becomes true once when the caller cancels, or goes away in a version where that means the same.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    pub(crate) fn new(receiver: watch::Receiver<bool>) -> Self {
        Self(receiver)
    }

    /// Whether the caller has cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the caller cancels; for ever, if it never does.
    pub async fn cancelled(&mut self) {
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The channel beneath, for code that selects on it.
    #[must_use]
    pub fn into_receiver(self) -> watch::Receiver<bool> {
        self.0
    }
}

/// Sends progress to a caller that asked for it.
#[derive(Debug, Clone)]
pub struct Progress(Option<mpsc::Sender<Event>>);

/// What running work sends to the reply.
#[derive(Debug)]
pub(crate) enum Event {
    /// Words on how it goes.
    Progress(String),
    /// The answer; nothing comes after it.
    Done(Answer),
}

impl Progress {
    pub(crate) fn new(events: Option<mpsc::Sender<Event>>) -> Self {
        Self(events)
    }

    /// Whether anybody listens: if not, there is no need to put a message together.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.0.as_ref().is_some_and(|events| !events.is_closed())
    }

    /// Sends a message, waiting while the caller is slow to read. Returns at once when nobody listens.
    pub async fn report(&self, message: impl Into<String>) {
        if let Some(events) = &self.0 {
            // A closed channel is a caller that left; the work learns of it through `cancel`.
            events.send(Event::Progress(message.into())).await.ok();
        }
    }

    /// Sends a message if there is room for it. False: it was dropped.
    #[must_use]
    pub fn try_report(&self, message: impl Into<String>) -> bool {
        self.0
            .as_ref()
            .is_some_and(|events| events.try_send(Event::Progress(message.into())).is_ok())
    }
}
