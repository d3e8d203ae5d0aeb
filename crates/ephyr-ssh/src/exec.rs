//! Runs one command until it ends, times out or is cancelled.

use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cancel::Cancel;
use crate::capture::{Capture, Chunk, Stream};
use crate::connect::SshSession;
use crate::endpoint::Endpoint;
use crate::error::{SshError, Stage, quoted};
use crate::login::LoggedIn;
use crate::timings::Timings;

/// Default number of bytes kept of each output stream: 1 MiB.
pub const MAX_OUTPUT: usize = 1024 * 1024;

/// After the command's end, reading stops when no output came for this long: a process that it left in the
/// background may hold the output open forever.
const TRAILING_OUTPUT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between SIGTERM and SIGKILL; the watcher on the target uses the same.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// Time between SIGKILL and closing the connection.
const KILL_GRACE: Duration = Duration::from_millis(1500);

/// Limits, cancellation and progress of one command.
#[derive(Debug)]
pub struct ExecOptions {
    /// How long the command may run.
    pub timeout: Duration,
    /// Bytes of standard output to keep.
    pub max_stdout: usize,
    /// Bytes of standard error to keep.
    pub max_stderr: usize,
    /// Cancels the command.
    pub cancel: Cancel,
    /// Receives the output as it arrives. A slow receiver misses pieces and does not delay the command.
    pub progress: Option<mpsc::Sender<Chunk>>,
}

impl Default for ExecOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            max_stdout: MAX_OUTPUT,
            max_stderr: MAX_OUTPUT,
            cancel: Cancel::never(),
            progress: None,
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The command exited with this status.
    Code(u32),
    /// This signal, such as `TERM`, ended the command.
    Signal(String),
    /// It exceeded the time limit and was ended.
    Timeout,
    /// It was cancelled and ended.
    Cancelled,
    /// Unknown: the connection was lost, for this reason. The watcher on the target, if it still
    /// runs, ends the command.
    Lost(String),
    /// The target reported this exit (`exit status 0`) without proof that the sealed command started: the
    /// login shell could not parse it, or sshd ran another program. Never a success.
    Unproven(String),
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// How the command ended.
    pub exit: Exit,
    /// Whether the target was asked to run the command. `false` only after a timeout or cancellation before
    /// the request: then nothing ran. If `true`, the command may have run, whatever the target reported.
    pub asked: bool,
    /// Whether the target reported the end. `false` after a timeout or cancellation means that the connection
    /// was closed and the watcher on the target ends the command.
    pub end_reported: bool,
    /// The beginning of standard output, without that of the shell's startup files. Without proof that the
    /// command started: the beginning of the output received instead.
    pub stdout: Vec<u8>,
    /// Bytes of standard output received.
    pub stdout_bytes: u64,
    /// Whether `stdout` is only the beginning.
    pub stdout_truncated: bool,
    /// The beginning of standard error.
    pub stderr: Vec<u8>,
    /// Bytes of standard error received.
    pub stderr_bytes: u64,
    /// Whether `stderr` is only the beginning.
    pub stderr_truncated: bool,
    /// Durations of the steps.
    pub timings: Timings,
}

impl LoggedIn {
    /// Runs the permit's command, waits for its end and closes the connection.
    ///
    /// On a timeout or cancellation the command gets SIGTERM, then SIGKILL, then the connection is closed, all
    /// within four seconds. Dropping the future closes the connection at once.
    ///
    /// # Errors
    /// [`SshError::NotPermitted`] when the permit is not for a command; connection errors before the target
    /// was asked to run it; [`SshError::CommandRefused`] when the target refused. After an error, nothing ran.
    pub async fn exec(self, options: ExecOptions) -> Result<ExecOutput, SshError> {
        let Self { mut session } = self;
        let endpoint = session.endpoint.clone();
        let command = permitted_command(&endpoint)?;
        let mut run = RunningCommand {
            capture: Capture::new(options.max_stdout, options.max_stderr, options.progress),
            status: None,
            asked: false,
            answered: false,
        };
        let started = Instant::now();
        let mut cancel = options.cancel;
        let stop = async {
            tokio::select! {
                () = sleep_until(started + options.timeout) => Exit::Timeout,
                () = cancel.cancelled() => Exit::Cancelled,
            }
        };
        tokio::pin!(stop);

        let channel = tokio::select! {
            biased;
            exit = &mut stop => return Ok(run.output(exit, session.timings, started)),
            channel = start(&mut session, command) => channel?,
        };
        run.asked = true;
        let (mut reader, writer) = channel.split();
        let (stopped, refused) = tokio::select! {
            biased;
            exit = &mut stop => (Some(exit), false),
            refused = run.follow(&mut reader) => (None, refused),
        };
        if refused && !run.answered {
            return Err(refusal(&endpoint, "request refused"));
        }
        let exit = match (stopped, run.status.clone()) {
            // The command ended in time; only its background processes still ran.
            (None | Some(Exit::Timeout), Some(status)) => run.proven(status),
            (None, None) if refused => {
                Exit::Lost("the target refused the command after it had started".into())
            }
            (None, None) => Exit::Lost(session.loss_reason().await),
            (Some(exit), _) => {
                run.end(&mut reader, &writer).await;
                return Ok(run.output(exit, session.timings, started));
            }
        };
        let output = run.output(exit, session.timings, started);
        session.disconnect();
        Ok(output)
    }
}

/// Returns the permit's command.
fn permitted_command(endpoint: &Endpoint) -> Result<&str, SshError> {
    endpoint
        .command
        .as_deref()
        .ok_or_else(|| SshError::NotPermitted {
            target: endpoint.target.clone(),
            reason: "it does not permit a command",
        })
}

/// Opens a channel and requests the command.
async fn start(session: &mut SshSession, command: &str) -> Result<Channel<Msg>, SshError> {
    let opened = session.handle.channel_open_session().await;
    let channel = match opened {
        Ok(channel) => channel,
        Err(russh::Error::ChannelOpenFailure(reason)) => {
            return Err(refusal(&session.endpoint, &format!("{reason:?}")));
        }
        Err(_) => return Err(session.end_error(Stage::Start).await),
    };
    // The server runs the certificate's force-command; this text becomes SSH_ORIGINAL_COMMAND.
    if channel.exec(true, command.as_bytes()).await.is_err() {
        return Err(session.end_error(Stage::Start).await);
    }
    Ok(channel)
}

fn refusal(endpoint: &Endpoint, reason: &str) -> SshError {
    SshError::CommandRefused {
        target: endpoint.target.clone(),
        reason: quoted(reason),
    }
}

/// A running command.
struct RunningCommand {
    capture: Capture,
    status: Option<Exit>,
    asked: bool,
    /// Whether the target accepted the request or sent output or an exit. A refusal after that is not trusted.
    answered: bool,
}

impl RunningCommand {
    /// Reads until the target has reported the exit and all output, closed the channel, or refused the
    /// command. Returns whether it refused.
    async fn follow(&mut self, reader: &mut ChannelReadHalf) -> bool {
        let mut all_output = false;
        while !(all_output && self.status.is_some()) {
            let output_timeout = async {
                match self.status {
                    Some(_) => sleep(TRAILING_OUTPUT_TIMEOUT).await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                message = reader.wait() => message,
                () = output_timeout => break,
            };
            match message {
                Some(ChannelMsg::Eof) => all_output = true,
                Some(ChannelMsg::Failure) => return true,
                Some(ChannelMsg::Close) | None => break,
                Some(other) => self.record(other),
            }
        }
        false
    }

    /// Records the output or exit status of a message.
    fn record(&mut self, message: ChannelMsg) {
        self.answered |= matches!(
            message,
            ChannelMsg::Success
                | ChannelMsg::Data { .. }
                | ChannelMsg::ExtendedData { .. }
                | ChannelMsg::ExitStatus { .. }
                | ChannelMsg::ExitSignal { .. }
        );
        match message {
            ChannelMsg::Data { data } => self.capture.push(Stream::Stdout, &data),
            ChannelMsg::ExtendedData { data, ext: 1 } => self.capture.push(Stream::Stderr, &data),
            ChannelMsg::ExitStatus { exit_status } => self.status = Some(Exit::Code(exit_status)),
            ChannelMsg::ExitSignal { signal_name, .. } => {
                self.status = Some(Exit::Signal(signal(signal_name)));
            }
            _ => {}
        }
    }

    /// Ends the command: the end of standard input triggers the watcher, and signals reach it if the server
    /// forwards them. The caller then drops the session, which closes the connection.
    async fn end(&mut self, reader: &mut ChannelReadHalf, writer: &ChannelWriteHalf<Msg>) {
        let terminated = async {
            let _ = writer.eof().await;
            let _ = writer.signal(Sig::TERM).await;
            self.drain(reader).await;
        };
        if timeout(TERM_GRACE, terminated).await.is_ok() {
            return;
        }
        let killed = async {
            let _ = writer.signal(Sig::KILL).await;
            self.drain(reader).await;
        };
        // The caller closes the connection in any case.
        let _ = timeout(KILL_GRACE, killed).await;
    }

    /// Reads until the target closes the channel.
    async fn drain(&mut self, reader: &mut ChannelReadHalf) {
        while let Some(message) = reader.wait().await {
            if matches!(message, ChannelMsg::Close) {
                return;
            }
            self.record(message);
        }
    }

    /// Returns the reported exit, if the command proved that it started.
    fn proven(&self, status: Exit) -> Exit {
        if self.capture.has_begun() {
            return status;
        }
        match status {
            Exit::Code(code) => Exit::Unproven(format!("exit status {code}")),
            Exit::Signal(signal) => Exit::Unproven(format!("signal {signal}")),
            other => other,
        }
    }

    /// Returns the result.
    fn output(mut self, exit: Exit, timings: Timings, started: Instant) -> ExecOutput {
        let stdout = self.capture.take_stdout();
        let Capture { stderr, .. } = self.capture;
        ExecOutput {
            exit,
            asked: self.asked,
            end_reported: self.status.is_some(),
            stdout_bytes: stdout.total,
            stdout_truncated: stdout.truncated(),
            stdout: stdout.data,
            stderr_bytes: stderr.total,
            stderr_truncated: stderr.truncated(),
            stderr: stderr.data,
            timings: Timings {
                exec: started.elapsed(),
                ..timings
            },
        }
    }
}

/// Returns a signal's name without `SIG`.
fn signal(signal: Sig) -> String {
    match signal {
        Sig::ABRT => "ABRT".into(),
        Sig::ALRM => "ALRM".into(),
        Sig::FPE => "FPE".into(),
        Sig::HUP => "HUP".into(),
        Sig::ILL => "ILL".into(),
        Sig::INT => "INT".into(),
        Sig::KILL => "KILL".into(),
        Sig::PIPE => "PIPE".into(),
        Sig::QUIT => "QUIT".into(),
        Sig::SEGV => "SEGV".into(),
        Sig::TERM => "TERM".into(),
        Sig::USR1 => "USR1".into(),
        Sig::Custom(name) => quoted(&name),
    }
}
