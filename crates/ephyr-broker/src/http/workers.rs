//! The threads that serve connections. Each has a runtime of its own and keeps the connections it was
//! given: a request wakes nobody but its own thread, and nothing moves between caches.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use ephyr_audit::Inbox;

/// Shorter than any time that a request waits for something.
const TICK: Duration = Duration::from_secs(5);
/// More threads than this serve no agent any better.
const MOST: usize = 8;
/// Threads of each runtime for what would hold up the others, such as comparing an API key. What is asked
/// for beyond that waits: the unit has room for so many threads and no more (`TasksMax=`), and where the
/// system has none to give, a runtime panics.
pub(crate) const MOST_BLOCKING: usize = 32;

/// Threads that serve. Dropping them ends what they still do.
pub struct Workers {
    threads: Vec<Worker>,
    next: AtomicUsize,
}

struct Worker {
    handle: Handle,
    /// Taken when it is stopped.
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Workers {
    /// Starts one thread for each processor that this process may use, eight at most.
    ///
    /// # Errors
    /// Where the system has no thread or no descriptor to give.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..count.min(MOST)).map(Worker::start);
        Ok(Self {
            threads: threads.collect::<io::Result<_>>()?,
            next: AtomicUsize::new(0),
        })
    }

    /// The runtime that the next connection goes to.
    pub(super) fn next(&self) -> &Handle {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        &self.threads[at % self.threads.len()].handle
    }
}

impl Worker {
    fn start(at: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MOST_BLOCKING)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(format!("serve-{at}"))
            .spawn(move || runtime.block_on(run(stopped, Inbox::of_this_thread())))?;
        Ok(Self {
            handle,
            thread: Some((stop, thread)),
        })
    }
}

/// Lets the runtime serve until it is told to stop.
///
/// A timer that is the next to fire wakes the runtime, which costs a system call; one behind another does not.
/// The tick stands before all that a request may set.
async fn run(mut stopped: oneshot::Receiver<()>, inbox: Inbox) {
    let mut hand_out = std::pin::pin!(inbox.hand_out());
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            // Either word means the same: nothing is served any more.
            _ = &mut stopped => return,
            _ = tick.tick() => {}
            never = &mut hand_out => match never {},
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.threads {
            if let Some((stop, thread)) = worker.thread.take() {
                let _ = stop.send(());
                // A panic of a connection was caught by its task.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn however_much_waits_to_block_there_are_few_threads_for_it() {
        let workers = Workers::start().unwrap();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handle = workers.next();
        let blocking: Vec<_> = (0..4 * MOST_BLOCKING)
            .map(|_| {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                handle.spawn_blocking(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    running.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        let waiting = Builder::new_current_thread().build().unwrap();
        waiting.block_on(async {
            for task in blocking {
                task.await.unwrap();
            }
        });
        assert!(most.load(Ordering::SeqCst) <= MOST_BLOCKING, "{most:?}");
    }
}
