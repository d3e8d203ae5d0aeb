//! The stdio bridge behind `ephyr mcp`: an MCP server on standard input and output that forwards messages
//! over HTTP, so that an agent's configuration names a command and contains no key.
//!
//! Each input line is a POST; its response, or each event of it, is an output line. Nothing else is
//! written. Requests run concurrently. If a 2026-07-28 client sends `notifications/cancelled`, the bridge
//! closes the request's connection; for earlier versions it forwards the notification. When the client
//! exits, running requests are cancelled in the same way.

mod carrier;
mod client;
mod events;
mod handshake;
mod input;
mod lines;
mod options;
mod relay;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use carrier::Carrier;
pub use client::{Connect, is_not_http};
use input::{EndReason, Input};
pub use options::{Headers, Options};
use relay::Relay;

/// Output lines queued for a slow client.
const OUT_QUEUE: usize = 64;
/// Timeout for cancelling the requests of an exited client, and for writing the last lines.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Runs a bridge until the input ends or the output is closed; see [`run_until`].
///
/// # Errors
/// As [`run_until`].
pub async fn run<C, R, W>(connect: C, options: Options, input: R, output: W) -> io::Result<()>
where
    C: Connect,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    run_until(connect, options, input, output, std::future::pending()).await
}

/// Runs a bridge until the input ends, the output is closed, or `gone` resolves because the client has
/// exited.
///
/// After the end of the input, running requests may continue for [`Options::drain`]; in the other cases
/// they are cancelled at once.
///
/// # Errors
/// Reading the input failed, writing the output failed (other than with a broken pipe), or the options are
/// invalid.
pub async fn run_until<C, R, W, G>(
    connect: C,
    options: Options,
    input: R,
    output: W,
    gone: G,
) -> io::Result<()>
where
    C: Connect,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
    G: Future<Output = ()>,
{
    let drain = options.drain;
    let relay = Relay::new(connect, options).map_err(io::Error::other)?;
    let (out, lines) = mpsc::channel(OUT_QUEUE);
    let mut writer = tokio::spawn(write(lines, output));
    let carrier = Arc::new(Carrier::new(relay, out));
    let mut bridge = Input::new(Arc::clone(&carrier));
    let mut gone = std::pin::pin!(gone);
    let read = tokio::select! {
        read = bridge.read(input) => read,
        () = &mut gone => Ok(EndReason::Client),
    };
    if matches!(read, Ok(EndReason::Input)) {
        tokio::select! {
            // Requests still running after the grace period are cancelled.
            _ = tokio::time::timeout(drain, bridge.drained()) => {}
            () = carrier.closed() => {}
            () = &mut gone => {}
        }
    }
    // Closing their connections cancels the requests of 2026-07-28. Legacy ones need a notification, sent
    // after this so that no response is written meanwhile.
    bridge.stop().await;
    Arc::clone(&carrier).cancel_rest(SHUTDOWN).await;
    // The writer ends when the last sender is dropped.
    drop((bridge, carrier));
    let written = match &read {
        Ok(EndReason::Input) => writer.await,
        // The writer may be blocked on a client that no longer reads.
        _ => match tokio::time::timeout(SHUTDOWN, &mut writer).await {
            Ok(written) => written,
            Err(_) => {
                writer.abort();
                Ok(Ok(()))
            }
        },
    };
    let written = written.map_err(io::Error::other)?;
    read.and(written)
}

async fn write<W: AsyncWrite + Unpin>(
    mut lines: mpsc::Receiver<Vec<u8>>,
    mut output: W,
) -> io::Result<()> {
    while let Some(mut line) = lines.recv().await {
        line.push(b'\n');
        let written = async {
            output.write_all(&line).await?;
            output.flush().await
        };
        match written.await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
