//! A closed-loop HTTP client for Ephyr and the references: a number of connections, each with one outstanding
//! request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failure;

/// Sends requests over `connections` connections for `time` and returns the responses per second. Fails on a
/// response with another status line or a failed tool call.
pub(crate) async fn rate(
    address: SocketAddr,
    request: Vec<u8>,
    connections: usize,
    time: Duration,
    status: &'static str,
) -> Result<f64, Failure> {
    let request = Arc::new(request);
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    let begun = Instant::now();
    for _ in 0..connections {
        let (request, stop) = (Arc::clone(&request), Arc::clone(&stop));
        tasks.push(tokio::spawn(async move {
            one(address, &request, &stop, status).await
        }));
    }
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for task in tasks {
        answered += task.await??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok(answered as f64 / begun.elapsed().as_secs_f64())
}

async fn one(
    address: SocketAddr,
    request: &[u8],
    stop: &AtomicBool,
    status: &str,
) -> Result<u64, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(request).await.map_err(text)?;
        let answer = read(&mut stream, &mut buffer).await.map_err(text)?;
        // A refusal is faster than the work; counting it would overstate the rate.
        if !answer.starts_with(status.as_bytes()) || refused(answer) {
            let shown = &answer[..answer.len().min(300)];
            return Err(format!(
                "expected {status:?}, got {:?}",
                String::from_utf8_lossy(shown)
            ));
        }
        answered += 1;
    }
    Ok(answered)
}

/// Returns whether the tool call failed.
fn refused(answer: &[u8]) -> bool {
    memmem::find(answer, br#""isError":true"#).is_some()
}

/// Sends one request and returns the head and body of the response.
pub(crate) async fn ask(address: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut buffer = vec![0; 1 << 20];
    read(&mut stream, &mut buffer).await.map(<[u8]>::to_vec)
}

/// Reads one response that has a Content-Length.
async fn read<'b>(stream: &mut TcpStream, buffer: &'b mut [u8]) -> std::io::Result<&'b [u8]> {
    let mut filled = 0;
    loop {
        let n = stream.read(&mut buffer[filled..]).await?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled += n;
        if let Some(whole) = length(&buffer[..filled])
            && filled >= whole
        {
            return Ok(&buffer[..whole]);
        }
    }
}

/// Returns the length of the response at the start of `bytes`; `None` until its head is complete.
fn length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    })?;
    Some(head + value)
}
