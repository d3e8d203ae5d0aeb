//! Answers of the audit log's thread to the threads that serve. To wake a task of another thread costs a
//! system call; here one wakes a thread for all answers that are there by the time it looks.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::sync::{Arc, mpsc};

use ephyr_audit::{Appended, AuditError};
use tokio::sync::{Notify, oneshot};

type Result = std::result::Result<Appended, AuditError>;

thread_local! {
    static HERE: OnceCell<Door> = const { OnceCell::new() };
}

/// What lets answers in to a thread.
#[derive(Clone)]
struct Door {
    waiting: mpsc::Sender<(oneshot::Sender<Result>, Result)>,
    bell: Arc<Notify>,
}

/// A thread's answers.
pub(crate) struct Inbox {
    waiting: mpsc::Receiver<(oneshot::Sender<Result>, Result)>,
    bell: Arc<Notify>,
}

/// The way of one answer to whoever waits for it.
pub(crate) struct Answer {
    to: oneshot::Sender<Result>,
    through: Option<Door>,
}

/// An answer to a task of this thread: through its inbox if it has one, straight otherwise.
pub(crate) fn answer() -> (Answer, oneshot::Receiver<Result>) {
    let (to, answered) = oneshot::channel();
    let through = HERE.with(|here| here.get().cloned());
    (Answer { to, through }, answered)
}

impl Answer {
    /// Answers. Whoever asked may have gone.
    pub(crate) fn send(self, result: Result) {
        let straight = match self.through {
            None => Some((self.to, result)),
            Some(door) => {
                let refused = door.waiting.send((self.to, result)).err();
                door.bell.notify_one();
                // The thread ends, and its runtime with it.
                refused.map(|refused| refused.0)
            }
        };
        if let Some((to, result)) = straight {
            let _ = to.send(result);
        }
    }
}

impl Inbox {
    /// Gives this thread an inbox; for threads whose one runtime lives as long as they do. A second one
    /// stays empty.
    pub(crate) fn of_this_thread() -> Self {
        let (sender, waiting) = mpsc::channel();
        let bell = Arc::new(Notify::new());
        let door = Door {
            waiting: sender,
            bell: Arc::clone(&bell),
        };
        // There is one already: it goes on.
        let _ = HERE.with(|here| here.set(door));
        Self { waiting, bell }
    }

    /// Hands answers to the tasks that wait for them, for ever.
    pub(crate) async fn hand_out(self) -> Infallible {
        loop {
            self.bell.notified().await;
            for (to, result) in self.waiting.try_iter() {
                let _ = to.send(result);
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

    /// Asks so many times, has another thread answer, and counts what came.
    async fn ask(times: usize) -> usize {
        let (answers, asked): (Vec<_>, Vec<_>) = (0..times).map(|_| answer()).unzip();
        let thread = std::thread::spawn(move || {
            for answer in answers {
                answer.send(Err(AuditError::Busy));
            }
        });
        let mut came = 0;
        for asked in asked {
            came += usize::from(matches!(asked.await, Ok(Err(AuditError::Busy))));
        }
        thread.join().unwrap();
        came
    }

    #[test]
    fn every_answer_comes_through_the_inbox() {
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
    fn a_thread_without_an_inbox_or_whose_inbox_has_gone_gets_them_straight() {
        assert_eq!(runtime().block_on(ask(10)), 10);
        drop(Inbox::of_this_thread());
        assert_eq!(runtime().block_on(ask(10)), 10);
    }

    #[test]
    fn whoever_has_gone_is_in_nobodys_way() {
        let inbox = Inbox::of_this_thread();
        let (gone, asked) = answer();
        drop(asked);
        gone.send(Err(AuditError::Closed));
        let handed_out = async {
            tokio::select! {
                never = inbox.hand_out() => match never {},
                came = ask(1) => came,
            }
        };
        assert_eq!(runtime().block_on(handed_out), 1);
    }
}
