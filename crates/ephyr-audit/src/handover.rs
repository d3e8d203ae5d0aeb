//! Delivers results from the audit log's thread to the threads that serve requests. Waking a task on another thread costs
//! a system call; an inbox wakes its thread once for all results that have arrived.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::sync::{Arc, mpsc};

use tokio::sync::{Notify, oneshot};

use crate::appended::Appended;
use crate::attempt::Attempt;
use crate::error::AuditError;

type Result<T> = std::result::Result<T, AuditError>;

/// A result on its way to the task that waits for it. The inbox stores it inline, because every action needs one and a
/// box would be allocated on the log's thread and freed on another.
pub(crate) enum Answered {
    Record(oneshot::Sender<Result<Appended>>, Result<Appended>),
    Attempt(oneshot::Sender<Result<Attempt>>, Result<Attempt>),
}

/// A result that an inbox can deliver.
pub(crate) trait Answer: Sized {
    fn addressed(self, to: oneshot::Sender<Self>) -> Answered;
}

impl Answer for Result<Appended> {
    fn addressed(self, to: oneshot::Sender<Self>) -> Answered {
        Answered::Record(to, self)
    }
}

impl Answer for Result<Attempt> {
    fn addressed(self, to: oneshot::Sender<Self>) -> Answered {
        Answered::Attempt(to, self)
    }
}

impl Answered {
    /// Sends the result to the waiting task; drops it if the receiver is closed.
    fn deliver(self) {
        match self {
            Self::Record(to, answer) => drop(to.send(answer)),
            Self::Attempt(to, answer) => drop(to.send(answer)),
        }
    }
}

thread_local! {
    static INBOX: OnceCell<InboxSender> = const { OnceCell::new() };
}

/// The sending side of a thread's inbox.
#[derive(Clone)]
struct InboxSender {
    deliveries: mpsc::Sender<Answered>,
    arrived: Arc<Notify>,
}

/// The results for the tasks of one thread.
pub struct Inbox {
    deliveries: mpsc::Receiver<Answered>,
    arrived: Arc<Notify>,
}

/// The sender of one result.
pub(crate) struct Reply<T> {
    to: oneshot::Sender<T>,
    through: Option<InboxSender>,
}

/// Returns the sender and the receiver of a result for a task on this thread. The result goes through the thread's inbox
/// if it has one, directly otherwise.
pub(crate) fn answer<T: Answer>() -> (Reply<T>, oneshot::Receiver<T>) {
    let (to, answered) = oneshot::channel();
    let through = INBOX.with(|inbox| inbox.get().cloned());
    (Reply { to, through }, answered)
}

impl<T: Answer> Reply<T> {
    /// Sends the result; drops it if the receiver is closed.
    pub(crate) fn send(self, answer: T) {
        let answered = answer.addressed(self.to);
        let Some(slot) = self.through else {
            return answered.deliver();
        };
        let refused = slot.deliveries.send(answered).err();
        slot.arrived.notify_one();
        // The inbox is gone, because its thread and runtime are ending.
        if let Some(mpsc::SendError(answered)) = refused {
            answered.deliver();
        }
    }
}

impl Inbox {
    /// Creates this thread's inbox, for a thread with one runtime that lives as long as the thread. A second inbox
    /// stays empty.
    #[must_use]
    pub fn of_this_thread() -> Self {
        let (sender, deliveries) = mpsc::channel();
        let arrived = Arc::new(Notify::new());
        let slot = InboxSender {
            deliveries: sender,
            arrived: Arc::clone(&arrived),
        };
        // An existing inbox stays in use.
        let _ = INBOX.with(|inbox| inbox.set(slot));
        Self {
            deliveries,
            arrived,
        }
    }

    /// Delivers results to the tasks that wait for them, forever.
    pub async fn hand_out(self) -> Infallible {
        loop {
            self.arrived.notified().await;
            for answered in self.deliveries.try_iter() {
                answered.deliver();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    /// Requests results from another thread and returns the number that arrived.
    async fn ask(times: usize) -> usize {
        let (answers, asked): (Vec<_>, Vec<_>) = (0..times).map(|_| answer()).unzip();
        let thread = std::thread::spawn(move || {
            for answer in answers {
                answer.send(Err(AuditError::Busy));
            }
        });
        let mut came = 0;
        for asked in asked {
            came += usize::from(matches!(
                asked.await,
                Ok(Err::<Appended, _>(AuditError::Busy))
            ));
        }
        thread.join().unwrap();
        came
    }

    #[test]
    fn every_result_arrives_through_the_inbox() {
        let inbox = Inbox::of_this_thread();
        let handed_out = async {
            tokio::select! {
                never = inbox.hand_out() => match never {},
                came = ask(1000) => came,
            }
        };
        assert_eq!(runtime().block_on(handed_out), 1000);
    }

    #[test]
    fn results_arrive_without_an_inbox_and_after_it_is_dropped() {
        assert_eq!(runtime().block_on(ask(10)), 10);
        drop(Inbox::of_this_thread());
        assert_eq!(runtime().block_on(ask(10)), 10);
    }

    #[test]
    fn closed_receiver_does_not_block_the_others() {
        let inbox = Inbox::of_this_thread();
        let (gone, asked) = answer();
        drop(asked);
        gone.send(Err::<Appended, _>(AuditError::Closed));
        let handed_out = async {
            tokio::select! {
                never = inbox.hand_out() => match never {},
                came = ask(1) => came,
            }
        };
        assert_eq!(runtime().block_on(handed_out), 1);
    }
}
