//! `ephyr exec`: the remote command's output and exit status become this program's.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::Exec;
use crate::broker;
use crate::endpoint::Endpoint;
use crate::failure::{Failure, TIMED_OUT};
use crate::lists;
use crate::output::Output;

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
}

pub(crate) fn run(endpoint: &Endpoint, exec: &Exec, output: &Output) -> Result<ExitCode, Failure> {
    let arguments = json!({
        "target": exec.target,
        "role": exec.role,
        "command": command_line(&exec.command),
        "timeout": exec.timeout,
        "dry_run": exec.dry_run,
    });
    let patience = Duration::from_secs(exec.timeout) + MARGIN;
    let value = broker::call(endpoint, "exec", arguments, patience)?;
    if exec.dry_run {
        return decision(&value["decision"], output);
    }
    let ran = Ran::deserialize(&value).map_err(Failure::protocol)?;
    if output.is_json() {
        output.show(&value, String::new)?;
    } else {
        output.raw(ran.stdout.as_bytes())?;
        // The remote command's errors are shown even where nobody reads ours.
        let mut errors = std::io::stderr().lock();
        let _ = errors.write_all(ran.stderr.as_bytes());
        if ran.truncated {
            let _ = writeln!(errors, "ephyr: there was more output than the broker keeps");
        }
        if ran.timed_out {
            let _ = writeln!(errors, "ephyr: ended after {} s", exec.timeout);
        }
    }
    Ok(ExitCode::from(status(&ran)))
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
        };
        assert_eq!(status(&ran(7, None, false)), 7);
        assert_eq!(status(&ran(-1, Some("TERM"), false)), 143);
        assert_eq!(status(&ran(-1, None, true)), 124);
    }
}
