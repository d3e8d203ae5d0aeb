//! The reference servers: a minimal hyper server, and one that commits a line to disk before responding.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::Failure;

/// Appends lines to a file, with one fdatasync for all waiting commits.
#[derive(Clone)]
pub(crate) struct GroupCommit(mpsc::Sender<oneshot::Sender<()>>);

impl GroupCommit {
    /// Creates the file and starts the thread that commits.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let mut file = File::create(path)?;
        let (sender, receiver) = mpsc::channel::<oneshot::Sender<()>>();
        std::thread::spawn(move || {
            while let Ok(first) = receiver.recv() {
                let mut waiting = vec![first];
                waiting.extend(receiver.try_iter());
                let lines = [b'x'; 500].repeat(waiting.len());
                if file
                    .write_all(&lines)
                    .and_then(|()| file.sync_data())
                    .is_err()
                {
                    return;
                }
                for waiter in waiting {
                    let _ = waiter.send(());
                }
            }
        });
        Ok(Self(sender))
    }

    /// Waits until a line is on disk.
    pub(crate) async fn commit(&self) {
        let (done, committed) = oneshot::channel();
        if self.0.send(done).is_ok() {
            let _ = committed.await;
        }
    }

    /// Like [`commit`](Self::commit), for code outside of a runtime.
    pub(crate) fn commit_blocking(&self) {
        let (done, committed) = oneshot::channel();
        if self.0.send(done).is_ok() {
            let _ = committed.blocking_recv();
        }
    }
}

/// Starts the server in its own runtime, until the process ends, and returns its address.
pub(crate) fn serve(commit: Option<GroupCommit>) -> Result<SocketAddr, Failure> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            runtime.block_on(accept(listener, commit));
        }
    });
    Ok(address)
}

async fn accept(listener: std::net::TcpListener, commit: Option<GroupCommit>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let commit = commit.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let commit = commit.clone();
                async move {
                    // Read the body, as any server would.
                    let _ = request.into_body().collect().await;
                    if let Some(commit) = commit {
                        commit.commit().await;
                    }
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
                }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
