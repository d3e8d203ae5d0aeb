//! A small blocking HTTP/1.1 client over TCP, or over a Unix socket with another user's id. It can
//! also send malformed and incomplete requests.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Gid, Uid};

use crate::accounts::Account;
use crate::error::{Context as _, Error, Result};

/// The limit for the length of a response body.
const MAX_RESPONSE: usize = 64 << 20;

/// The timeout of a read: longer than the longest command of a test.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// The address of a server, and the user id of the client.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// TCP, without a user id.
    Tcp(SocketAddr),
    /// A Unix socket, with this account's user id (`None`: the test's own).
    Unix(PathBuf, Option<Account>),
}

/// A client connection.
pub struct Connection {
    wire: Wire,
    /// Read from the wire but not yet consumed.
    pending: Vec<u8>,
}

/// An HTTP response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The decoded body.
    pub body: Vec<u8>,
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Response {
    /// The value of the first header with this name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// The body is not JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .context(|| format!("status {}: {:?} is not JSON", self.status, self.text()))
    }
}

impl Endpoint {
    /// Connects.
    ///
    /// # Errors
    /// No server listens, or the user is not permitted to connect.
    pub fn connect(&self) -> Result<Connection> {
        let wire = match self {
            Self::Tcp(addr) => {
                let stream =
                    TcpStream::connect(addr).context(|| format!("connecting to {addr}"))?;
                stream
                    .set_nodelay(true)
                    .context(|| "setting TCP_NODELAY".into())?;
                stream
                    .set_read_timeout(Some(READ_TIMEOUT))
                    .context(|| "setting a timeout".into())?;
                Wire::Tcp(stream)
            }
            Self::Unix(path, account) => {
                let stream = match account {
                    Some(account) if rustix::process::geteuid().is_root() => {
                        connect_as(path, account)
                    }
                    _ => UnixStream::connect(path),
                }
                .context(|| format!("connecting to {}", path.display()))?;
                stream
                    .set_read_timeout(Some(READ_TIMEOUT))
                    .context(|| "setting a timeout".into())?;
                Wire::Unix(stream)
            }
        };
        Ok(Connection {
            wire,
            pending: Vec::new(),
        })
    }

    /// Sends one request on a new connection.
    ///
    /// # Errors
    /// The connection failed, or the response is incomplete.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        self.connect()?.request(method, path, headers, body)
    }
}

/// Connects with the account's user id. Linux keeps credentials per thread: a separate thread takes
/// those of the account and connects, and `SO_PEERCRED` reports them. Other threads are unaffected.
fn connect_as(path: &Path, account: &Account) -> io::Result<UnixStream> {
    let (path, account) = (path.to_owned(), account.clone());
    std::thread::spawn(move || {
        let groups: Vec<Gid> = account.groups.iter().map(|id| Gid::from_raw(*id)).collect();
        rustix::thread::set_thread_groups(&groups)?;
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        UnixStream::connect(path)
    })
    .join()
    .map_err(|_| io::Error::other("the connecting thread panicked"))?
}

impl Connection {
    /// Sends a request and reads the response; the connection can be reused.
    ///
    /// # Errors
    /// The server closed the connection, or its response is not HTTP.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            let host = match &self.wire {
                Wire::Tcp(stream) => stream.peer_addr().map(|addr| addr.to_string()),
                Wire::Unix(_) => Ok("localhost".to_owned()),
            };
            text.push_str(&format!("host: {}\r\n", host.unwrap_or_default()));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        let sent = self.send(&bytes);
        // A server that rejects a body may respond and close before it has read all of it: the
        // response counts, not the failed write.
        match self.read_response() {
            Ok(response) => Ok(response),
            Err(error) => sent.and(Err(error)),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The peer has closed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.wire.write_all(bytes).context(|| "sending".into())
    }

    /// Closes the sending half.
    ///
    /// # Errors
    /// The peer has closed.
    pub fn finish_sending(&mut self) -> Result<()> {
        match &self.wire {
            Wire::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Wire::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
        .context(|| "closing the sending half".into())
    }

    /// Sets how long a read may take.
    ///
    /// # Errors
    /// The time is zero.
    pub fn set_read_timeout(&mut self, timeout: Duration) -> Result<()> {
        match &self.wire {
            Wire::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Wire::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
        .context(|| "setting a timeout".into())
    }

    /// Reads until the server closes the connection (true) or the read times out (false).
    #[must_use]
    pub fn is_closed_by_peer(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.wire.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let slow = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
                    return !slow.contains(&error.kind());
                }
            }
        }
    }

    /// Reads one response.
    ///
    /// # Errors
    /// The server closed before the response was complete, or it is not HTTP.
    pub fn read_response(&mut self) -> Result<Response> {
        let (status, headers) = self.read_head()?;
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        let length = response.header("content-length").map(str::to_owned);
        response.body = if response.header("transfer-encoding") == Some("chunked") {
            self.read_chunked()?
        } else if let Some(length) = length {
            let length = length
                .parse()
                .context(|| format!("content-length {length:?}"))?;
            self.take(length)?
        } else if status == 204 || status == 304 {
            Vec::new()
        } else {
            self.read_to_end()?
        };
        Ok(response)
    }

    fn read_head(&mut self) -> Result<(u16, Vec<(String, String)>)> {
        let status_line = self.read_line()?;
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| Error::new(format!("not an HTTP response: {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn read_chunked(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                .context(|| format!("chunk size {line:?}"))?;
            body.extend(self.take(size)?);
            if body.len() > MAX_RESPONSE {
                return Err(Error::new("the response is too long"));
            }
            self.read_line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Reads a line, without its line break.
    ///
    /// # Errors
    /// The server closed the connection first.
    pub fn read_line(&mut self) -> Result<String> {
        loop {
            if let Some(at) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=at).collect();
                let text = String::from_utf8_lossy(&line);
                return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
            }
            if !self.fill()? {
                return Err(Error::new(
                    "the connection was closed before the response was complete",
                ));
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        if length > MAX_RESPONSE {
            return Err(Error::new("the response is too long"));
        }
        while self.pending.len() < length {
            if !self.fill()? {
                return Err(Error::new(
                    "the connection was closed before the response was complete",
                ));
            }
        }
        Ok(self.pending.drain(..length).collect())
    }

    fn read_to_end(&mut self) -> Result<Vec<u8>> {
        while self.fill()? {
            if self.pending.len() > MAX_RESPONSE {
                return Err(Error::new("the response is too long"));
            }
        }
        Ok(std::mem::take(&mut self.pending))
    }

    fn fill(&mut self) -> Result<bool> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.wire.read(&mut buffer) {
                Ok(count) => {
                    self.pending.extend_from_slice(&buffer[..count]);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(|| "reading the response".into()),
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
