//! `ephyr exec`: the remote command's output and exit status become this program's.

mod live;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::Exec;
use crate::broker;
use crate::endpoint::Endpoint;
use crate::failure::{Failure, OUTPUT_INCOMPLETE, TIMED_OUT};
use crate::lists;
use crate::output::Output;
use live::{LiveOutput, Stream};

/// Beyond the command's own time: connecting, signing, waiting for a slot.
const MARGIN: Duration = Duration::from_secs(60);

#[derive(Deserialize, Serialize)]
struct Ran {
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    #[serde(default)]
    exit_code: i64,
    #[serde(default)]
    signal: Option<String>,
    #[serde(default)]
    timed_out: bool,
    #[serde(default)]
    truncated: bool,
    #[serde(default)]
    stdout_bytes: u64,
    #[serde(default)]
    stderr_bytes: u64,
    #[serde(default)]
    stdout_lossy: bool,
    #[serde(default)]
    stderr_lossy: bool,
}

pub(crate) fn run(endpoint: &Endpoint, exec: &Exec, output: &Output) -> Result<ExitCode, Failure> {
    let encoding = if output.is_json() { "text" } else { "base64" };
    let arguments = json!({
        "target": exec.target,
        "role": exec.role,
        "command": command_line(&exec.command),
        "timeout": exec.timeout,
        "encoding": encoding,
        "dry_run": exec.dry_run,
    });
    let patience = Duration::from_secs(exec.timeout) + MARGIN;
    if exec.dry_run {
        let value = broker::call(endpoint, "exec", arguments, patience)?;
        return decision(&value["decision"], output);
    }
    if output.is_json() {
        let value = broker::call(endpoint, "exec", arguments, patience)?;
        let ran = Ran::deserialize(&value).map_err(Failure::protocol)?;
        output.show(&value, String::new)?;
        return end(&ran, exec, output);
    }
    let mut live = LiveOutput::new(|stream, data: &[u8]| match stream {
        Stream::Stdout => output.raw(data),
        Stream::Stderr => {
            // The remote command's errors are shown even where nobody reads ours.
            let _ = std::io::stderr().write_all(data);
            Ok(())
        }
    });
    let answer = broker::watch(endpoint, "exec", arguments, patience, &mut |piece| {
        live.piece(piece)
    });
    let value = match answer {
        Ok(value) => value,
        Err(failure) => {
            let word = |name: &str| failure.details()?.get(name)?.as_str();
            live.rest(Stream::Stdout, word("stdout").unwrap_or_default())?;
            live.rest(Stream::Stderr, word("stderr").unwrap_or_default())?;
            return Err(failure);
        }
    };
    let ran = Ran::deserialize(&value).map_err(Failure::protocol)?;
    live.rest(Stream::Stdout, &ran.stdout)?;
    live.rest(Stream::Stderr, &ran.stderr)?;
    if ran.timed_out {
        output.note(&format!("ended after {} s", exec.timeout));
    }
    end(&ran, exec, output)
}

/// Returns the command's status, or an error if its output is incomplete.
fn end(ran: &Ran, exec: &Exec, output: &Output) -> Result<ExitCode, Failure> {
    let Some(lacks) = lacks(ran) else {
        return Ok(ExitCode::from(status(ran)));
    };
    // A command that was ended is not expected to have complete output.
    if exec.lossy || ran.timed_out {
        output.note(&lacks);
        return Ok(ExitCode::from(status(ran)));
    }
    let text = format!(
        "{lacks}. The command itself ended with status {}; --lossy accepts its output as it is",
        status(ran)
    );
    Err(Failure::new(OUTPUT_INCOMPLETE, "output_incomplete", text))
}

/// Returns why the printed output is not exactly the command's.
fn lacks(ran: &Ran) -> Option<String> {
    if ran.truncated {
        return Some(format!(
            "the output is incomplete: the broker keeps 1 MiB each of standard output ({} bytes were written) \
             and standard error ({} bytes); write it to a file on the target and fetch that in parts",
            ran.stdout_bytes, ran.stderr_bytes
        ));
    }
    (ran.stdout_lossy || ran.stderr_lossy).then(|| {
        "the output is not UTF-8, so bytes of it were replaced in the JSON; without --json it is exact"
            .to_owned()
    })
}

fn decision(decision: &serde_json::Value, output: &Output) -> Result<ExitCode, Failure> {
    let allowed = decision["allowed"].as_bool().unwrap_or(false);
    output.show(decision, || {
        if allowed {
            "allowed".to_owned()
        } else {
            refusal(decision)
        }
    })?;
    Ok(if allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(crate::failure::DENIED)
    })
}

/// As a refusal of the command itself reads.
fn refusal(decision: &serde_json::Value) -> String {
    let mut text = format!(
        "denied at step {}: {}",
        decision["step"],
        lists::text(&decision["message"])
    );
    let instead = lists::words(&decision["alternatives"], "; ");
    if !instead.is_empty() {
        text.push_str("; allowed would be: ");
        text.push_str(&instead);
    }
    text
}

/// The exit status of a shell that had run the command itself.
fn status(ran: &Ran) -> u8 {
    if ran.timed_out {
        return TIMED_OUT;
    }
    match ran.signal.as_deref() {
        Some(name) => 128 + signal_number(name),
        None => u8::try_from(ran.exit_code).unwrap_or(255),
    }
}

/// The numbers of the signals that SSH names (RFC 4254 section 6.10), as Linux has them.
fn signal_number(name: &str) -> u8 {
    const SIGNALS: [(&str, u8); 13] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("ABRT", 6),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
    ];
    let name = name.trim_start_matches("SIG");
    SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(127, |(_, number)| *number)
}

/// One word is a command line for the remote shell; several are words that it must not split again.
fn command_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        _ => words
            .iter()
            .map(|word| quote(word))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%_-+=:,./".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> String {
        command_line(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_single_word_is_a_command_line_and_several_stay_words() {
        assert_eq!(line(&["ls -l | head"]), "ls -l | head");
        assert_eq!(
            line(&["echo", "a b", "$(id)", "it's", ""]),
            r"echo 'a b' '$(id)' 'it'\''s' ''"
        );
        assert_eq!(
            line(&["systemctl", "status", "nginx.service"]),
            "systemctl status nginx.service"
        );
    }

    #[test]
    fn the_status_is_what_a_shell_would_have_given() {
        let ran = |exit_code, signal: Option<&str>, timed_out| Ran {
            stdout: String::new(),
            stderr: String::new(),
            exit_code,
            signal: signal.map(str::to_owned),
            timed_out,
            truncated: false,
            stdout_bytes: 0,
            stderr_bytes: 0,
            stdout_lossy: false,
            stderr_lossy: false,
        };
        assert_eq!(status(&ran(7, None, false)), 7);
        assert_eq!(status(&ran(-1, Some("TERM"), false)), 143);
        assert_eq!(status(&ran(-1, None, true)), 124);
    }
}
