//! Runs other programs with a timeout, and captures and optionally shows their output.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The workspace's root. From cargo's environment at run time, because build directories are copied between
/// working trees.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    let here = here.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here)
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// Cargo's target directory.
pub(crate) fn target_dir() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let set = std::env::var_os("CARGO_TARGET_DIR").map(|dir| here.join(dir));
    set.unwrap_or_else(|| root().join("target"))
}

/// Returns a cargo command that runs in the workspace's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Finds a program in the PATH or the `sbin` directories.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// The result of a finished program.
pub(crate) struct Finished {
    /// Whether it exited with 0.
    pub(crate) ok: bool,
    /// Its standard output and standard error, interleaved.
    pub(crate) output: String,
    /// Whether it was killed after the timeout.
    pub(crate) timed_out: bool,
}

impl Finished {
    /// The last line of output that is not empty.
    pub(crate) fn last_line(&self) -> &str {
        self.output
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .unwrap_or("")
    }
}

/// Whether the output is shown as it arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Yes,
    No,
}

/// Runs a command to its end, or kills it and its descendants after `timeout`.
pub(crate) fn run(
    command: &mut Command,
    show: Show,
    timeout: Duration,
) -> Result<Finished, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("starting {name}: {error}"))?;
    let (sender, lines) = mpsc::channel();
    read_lines(child.stdout.take(), &sender);
    read_lines(child.stderr.take(), &sender);
    drop(sender);
    let start = Instant::now();
    let mut done = Finished {
        ok: false,
        output: String::new(),
        timed_out: false,
    };
    // The readers end when the last process that holds the pipes exits.
    loop {
        match lines.recv_timeout(timeout.saturating_sub(start.elapsed())) {
            Ok(line) => {
                if show == Show::Yes {
                    say(&line);
                }
                done.output.push_str(&line);
                done.output.push('\n');
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                done.timed_out = true;
                let family = descendants(child.id());
                let family = family.iter().map(u32::to_string);
                let _ = Command::new("kill").arg("-KILL").args(family).status();
                break;
            }
        }
    }
    let status = child
        .wait()
        .map_err(|error| format!("waiting for {name}: {error}"))?;
    done.ok = status.success() && !done.timed_out;
    Ok(done)
}

/// Returns a process and its descendants, found by the parent ids in `/proc`.
fn descendants(process: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The command name in parentheses may contain any character; state and parent id follow it.
            let parent = stat
                .rsplit(')')
                .next()?
                .split_whitespace()
                .nth(1)?
                .parse()
                .ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut family = vec![process];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    family
}

fn read_lines(stream: Option<impl Read + Send + 'static>, sender: &mpsc::Sender<String>) {
    let sender = sender.clone();
    std::thread::spawn(move || {
        let Some(stream) = stream else { return };
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches('\r')
                .to_owned();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
}

/// Prints a line to standard output.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    println!("{text}");
    // Flush, so that a pager or a log shows each step at once.
    let _ = std::io::stdout().flush();
}

/// Prints a line to standard error.
#[expect(clippy::print_stderr, reason = "this is what the command is for")]
pub(crate) fn warn(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_and_the_exit_status_are_captured() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let done = run(&mut command, Show::No, Duration::from_secs(60)).unwrap();
        assert!(!done.ok && !done.timed_out);
        assert!(done.output.contains("one\n") && done.output.contains("two\n"));
    }

    #[test]
    fn timeout_kills_the_program_and_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & sleep 600"]);
        let done = run(&mut command, Show::No, Duration::from_millis(200)).unwrap();
        assert!(done.timed_out && !done.ok);
    }
}
