//! One command, from its start to its end or to the end of our patience.

use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cancel::Cancel;
use crate::capture::{Capture, Chunk, Stream};
use crate::connect::Session;
use crate::endpoint::Endpoint;
use crate::error::{SshError, Stage, quoted};
use crate::login::LoggedIn;
use crate::timings::Timings;

/// How much of each output is kept where nothing else is said: 1 MiB.
pub const MAX_OUTPUT: usize = 1024 * 1024;

/// After the command has ended, output is waited for until there was none for so long: what it left in
/// the background may hold its output open for ever.
const AFTERMATH: Duration = Duration::from_secs(2);

/// From asking a command to end to killing it; the watcher on the target counts the same.
const GRACE: Duration = Duration::from_secs(2);

/// From killing a command to cutting the connection.
const AFTER_KILL: Duration = Duration::from_millis(1500);

/// Limits of one command, and what is connected to it.
#[derive(Debug)]
pub struct ExecOptions {
    /// How long it may run.
    pub timeout: Duration,
    /// How many bytes of standard output are kept.
    pub max_stdout: usize,
    /// How many bytes of standard error are kept.
    pub max_stderr: usize,
    /// Ends it early.
    pub cancel: Cancel,
    /// Gets the output as it comes. Never waited for: who is too slow misses pieces.
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
    /// By itself, with this status.
    Code(u32),
    /// By this signal, such as `TERM`.
    Signal(String),
    /// It ran for too long and was ended.
    Timeout,
    /// It was cancelled and ended.
    Cancelled,
    /// Not known: the connection broke. The command was told to end, if anything there still listened.
    Lost(String),
    /// The target reported an exit (`exit status 0`) without proof that the sealed command started: the login
    /// shell could not parse it, or sshd ran another program. Never a success.
    Unproven(String),
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// How it ended.
    pub exit: Exit,
    /// Whether the target was asked to run it. `false` only where its time was up, or it was cancelled,
    /// before: nothing was run then. Whoever was asked may have run it, whatever came back.
    pub asked: bool,
    /// Whether the target itself reported the end. `false` after a time-out or a cancellation means that
    /// the connection was cut, and that the target ends the command by itself.
    pub end_reported: bool,
    /// The beginning of its standard output, without output of the shell's startup files. Without proof that
    /// the command started: the beginning of the output that came instead.
    pub stdout: Vec<u8>,
    /// How many bytes it wrote there, as far as they arrived.
    pub stdout_bytes: u64,
    /// Whether some of them were dropped.
    pub stdout_truncated: bool,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
    /// How many bytes it wrote there, as far as they arrived.
    pub stderr_bytes: u64,
    /// Whether some of them were dropped.
    pub stderr_truncated: bool,
    /// How long the steps took.
    pub timings: Timings,
}

impl LoggedIn {
    /// Runs the permit's command and waits for its end. The connection is used up by it.
    ///
    /// When time is up or `cancel` comes, the command is asked to end, then killed, then cut off, within
    /// four seconds. Dropping the future cuts it off at once.
    ///
    /// # Errors
    /// [`SshError::NotPermitted`] when the permit is for no command; the errors
    /// of a broken connection before the target was asked to run it; [`SshError::CommandRefused`] when the
    /// target said no. Nothing was run then.
    pub async fn exec(self, options: ExecOptions) -> Result<ExecOutput, SshError> {
        let Self { mut session } = self;
        let endpoint = session.endpoint.clone();
        let command = covered(&endpoint)?;
        let mut run = Run {
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
            // It had ended in time; only what it left behind went on.
            (None | Some(Exit::Timeout), Some(status)) => run.proven(status),
            (None, None) if refused => {
                Exit::Lost("the target refused it after it had begun".into())
            }
            (None, None) => Exit::Lost(session.loss().await),
            (Some(exit), _) => {
                run.end(&mut reader, &writer).await;
                return Ok(run.output(exit, session.timings, started));
            }
        };
        let output = run.output(exit, session.timings, started);
        session.leave();
        Ok(output)
    }
}

/// Returns the permit's command.
fn covered(endpoint: &Endpoint) -> Result<&str, SshError> {
    endpoint
        .command
        .as_deref()
        .ok_or_else(|| SshError::NotPermitted {
            target: endpoint.target.clone(),
            reason: "it is not for running a command",
        })
}

/// A channel on which the command was asked for.
async fn start(session: &mut Session, command: &str) -> Result<Channel<Msg>, SshError> {
    let opened = session.handle.channel_open_session().await;
    let channel = match opened {
        Ok(channel) => channel,
        Err(russh::Error::ChannelOpenFailure(why)) => {
            return Err(refusal(&session.endpoint, &format!("{why:?}")));
        }
        Err(_) => return Err(session.ended(Stage::Start).await),
    };
    // The server runs what the certificate says; this becomes SSH_ORIGINAL_COMMAND.
    if channel.exec(true, command.as_bytes()).await.is_err() {
        return Err(session.ended(Stage::Start).await);
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
struct Run {
    capture: Capture,
    status: Option<Exit>,
    asked: bool,
    /// Whether the target said that it runs, or showed it: a refusal after that is not to be believed.
    answered: bool,
}

impl Run {
    /// Follows the command until the target reported its end and all its output, closed the channel, or
    /// refused to run it, which the answer says.
    async fn follow(&mut self, reader: &mut ChannelReadHalf) -> bool {
        let mut all_output = false;
        while !(all_output && self.status.is_some()) {
            let aftermath = async {
                match self.status {
                    Some(_) => sleep(AFTERMATH).await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                message = reader.wait() => message,
                () = aftermath => break,
            };
            match message {
                Some(ChannelMsg::Eof) => all_output = true,
                Some(ChannelMsg::Failure) => return true,
                Some(ChannelMsg::Close) | None => break,
                Some(other) => self.take(other),
            }
        }
        false
    }

    /// Takes output and the exit status from a message.
    fn take(&mut self, message: ChannelMsg) {
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

    /// Ends the command: the end of standard input tells the watcher, signals tell a server that passes
    /// them on. What then still runs is cut off by the caller, who drops the session.
    async fn end(&mut self, reader: &mut ChannelReadHalf, writer: &ChannelWriteHalf<Msg>) {
        let asked = async {
            let _ = writer.eof().await;
            let _ = writer.signal(Sig::TERM).await;
            self.drain(reader).await;
        };
        if timeout(GRACE, asked).await.is_ok() {
            return;
        }
        let killed = async {
            let _ = writer.signal(Sig::KILL).await;
            self.drain(reader).await;
        };
        // Cut off by the caller in any case.
        let _ = timeout(AFTER_KILL, killed).await;
    }

    /// Reads until the target closes the channel.
    async fn drain(&mut self, reader: &mut ChannelReadHalf) {
        while let Some(message) = reader.wait().await {
            if matches!(message, ChannelMsg::Close) {
                return;
            }
            self.take(message);
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

    /// What is known at the end.
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

/// A signal's name, without `SIG`.
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
