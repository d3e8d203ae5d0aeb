//! The threads that serve connections. Each has its own runtime and keeps its connections: a request wakes only its own
//! thread, and no data moves between CPU caches.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Period of the timer that fires before all others; shorter than any timeout of a request.
const TICK: Duration = Duration::from_secs(5);
/// More serving threads do not increase throughput for agents.
const MAX_THREADS: usize = 8;
/// Size of each runtime's pool for blocking work, such as comparing an API key. Further work is queued: the unit limits
/// the number of threads (`TasksMax=`), and a runtime that cannot start a thread panics.
pub const MAX_BLOCKING_THREADS: usize = 32;

/// The serving threads. Dropping this stops them and aborts their connections.
pub struct Workers {
    threads: Vec<Worker>,
    next: AtomicUsize,
}

struct Worker {
    handle: Handle,
    /// Taken on drop.
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Workers {
    /// Starts one thread for each available processor, eight at most. Each calls `background` once and runs the future
    /// alongside its connections.
    ///
    /// # Errors
    /// When the system has no thread or file descriptor left.
    pub fn start<F, B>(background: F) -> io::Result<Self>
    where
        F: Fn() -> B + Clone + Send + 'static,
        B: Future<Output = Infallible>,
    {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..count.min(MAX_THREADS)).map(|at| Worker::start(at, background.clone()));
        Ok(Self {
            threads: threads.collect::<io::Result<_>>()?,
            next: AtomicUsize::new(0),
        })
    }

    /// Returns the runtime for the next connection.
    pub(crate) fn next(&self) -> &Handle {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        &self.threads[at % self.threads.len()].handle
    }
}

impl Worker {
    fn start<B>(at: usize, background: impl FnOnce() -> B + Send + 'static) -> io::Result<Self>
    where
        B: Future<Output = Infallible>,
    {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(format!("serve-{at}"))
            .spawn(move || runtime.block_on(run(stopped, background())))?;
        Ok(Self {
            handle,
            thread: Some((stop, thread)),
        })
    }
}

/// Runs until `stopped` completes.
///
/// Setting a timer that fires before all others wakes the runtime, which costs a system call; a later one does not. The
/// tick fires before every timer that a request may set.
async fn run(mut stopped: oneshot::Receiver<()>, background: impl Future<Output = Infallible>) {
    let mut background = std::pin::pin!(background);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            // A dropped sender stops the thread too.
            _ = &mut stopped => return,
            _ = tick.tick() => {}
            never = &mut background => match never {},
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.threads {
            if let Some((stop, thread)) = worker.thread.take() {
                let _ = stop.send(());
                // The runtime has caught the panics of connections.
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
    fn blocking_work_runs_on_a_bounded_thread_pool() {
        let workers = Workers::start(std::future::pending).unwrap();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handle = workers.next();
        let blocking: Vec<_> = (0..4 * MAX_BLOCKING_THREADS)
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
        let most = most.load(Ordering::SeqCst);
        assert!(most <= MAX_BLOCKING_THREADS, "{most}");
    }

    #[test]
    fn each_thread_runs_its_own_background_future() {
        let (started, names) = std::sync::mpsc::channel();
        let workers = Workers::start(move || {
            let name = std::thread::current().name().map(str::to_owned);
            started.send(name).unwrap();
            std::future::pending()
        })
        .unwrap();
        let count = workers.threads.len();
        let mut names: Vec<_> = names.iter().take(count).flatten().collect();
        names.sort();
        let expected: Vec<_> = (0..count).map(|at| format!("serve-{at}")).collect();
        assert_eq!(names, expected);
    }
}
