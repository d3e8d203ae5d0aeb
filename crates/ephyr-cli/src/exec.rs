//! `ephyr exec`: runs a remote command and passes on its output and exit status.

mod live;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use ephyr_api::{CommandResult, Decision, Encoding, ExecArguments, ExecFailure, ExecPreview};
use serde::Deserialize as _;

use crate::args::Exec;
use crate::broker::{self, Answer};
use crate::endpoint::Endpoint;
use crate::failure::{DENIED, Failure, OUTPUT_INCOMPLETE, TIMED_OUT};
use crate::output::{Output, plain};
use live::{LiveOutput, Stream};

/// The time for connecting, signing and waiting for a slot, in addition to the command's timeout.
const MARGIN: Duration = Duration::from_secs(60);

pub(crate) fn run(endpoint: &Endpoint, exec: &Exec, output: &Output) -> Result<ExitCode, Failure> {
    let arguments = ExecArguments {
        target: exec.target.to_string(),
        role: exec.role.to_string(),
        command: command_line(&exec.command),
        timeout: exec.timeout,
        encoding: if output.is_json() {
            Encoding::Text
        } else {
            Encoding::Base64
        },
        dry_run: false,
    };
    let timeout = Duration::from_secs(exec.timeout) + MARGIN;
    if exec.dry_run {
        return decision(&broker::preview(endpoint, arguments, timeout)?, output);
    }
    if output.is_json() {
        let answer = broker::call(endpoint, &arguments, timeout)?;
        output.show(&answer.received, String::new)?;
        return end(&answer.value, exec, output);
    }
    let mut live = LiveOutput::new(|stream, data: &[u8]| match stream {
        Stream::Stdout => output.raw(data),
        Stream::Stderr => {
            // A closed standard error does not end the command.
            let _ = std::io::stderr().write_all(data);
            Ok(())
        }
    });
    let answer = broker::watch(endpoint, &arguments, timeout, &mut |piece| {
        live.piece(piece)
    });
    let result = match answer {
        Ok(answer) => answer.value,
        Err(failure) => {
            let details = failure.details().map(ExecFailure::deserialize);
            if let Some(Ok(ExecFailure {
                output: Some(kept), ..
            })) = details
            {
                live.rest(Stream::Stdout, &kept.stdout)?;
                live.rest(Stream::Stderr, &kept.stderr)?;
            }
            return Err(failure);
        }
    };
    live.rest(Stream::Stdout, &result.output.stdout)?;
    live.rest(Stream::Stderr, &result.output.stderr)?;
    if result.timed_out {
        output.note(&format!("ended after {} s", exec.timeout));
    }
    end(&result, exec, output)
}

/// Returns the command's status, or an error if its output is incomplete.
fn end(result: &CommandResult<'_>, exec: &Exec, output: &Output) -> Result<ExitCode, Failure> {
    let Some(defect) = output_defect(result) else {
        return Ok(ExitCode::from(status(result)));
    };
    // The output of a command that timed out is incomplete anyway.
    if exec.lossy || result.timed_out {
        output.note(&defect);
        return Ok(ExitCode::from(status(result)));
    }
    let text = format!(
        "{defect}. The command itself ended with status {}; --lossy accepts its output as it is",
        status(result)
    );
    Err(Failure::new(OUTPUT_INCOMPLETE, "output_incomplete", text))
}

/// Returns why the printed output is not exactly the command's, or `None` if it is.
fn output_defect(result: &CommandResult<'_>) -> Option<String> {
    let output = &result.output;
    if output.truncated {
        return Some(format!(
            "the output is incomplete: the broker keeps 1 MiB each of standard output ({} bytes were written) \
             and standard error ({} bytes); write it to a file on the target and fetch that in parts",
            output.stdout_bytes, output.stderr_bytes
        ));
    }
    (output.stdout_lossy || output.stderr_lossy).then(|| {
        "the output is not UTF-8, so bytes of it were replaced in the JSON; without --json it is exact"
            .to_owned()
    })
}

fn decision(answer: &Answer<ExecPreview<'_>>, output: &Output) -> Result<ExitCode, Failure> {
    let decision = &answer.value.decision;
    output.show(&answer.received["decision"], || {
        if decision.allowed {
            "allowed".to_owned()
        } else {
            refusal(decision)
        }
    })?;
    Ok(if decision.allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DENIED)
    })
}

/// Formats a decision like the refusal of the command itself.
fn refusal(decision: &Decision<'_>) -> String {
    let step = decision.step.unwrap_or_default();
    let message = decision.message.as_deref().unwrap_or_default();
    let mut text = format!("denied at step {step}: {}", plain(message));
    if !decision.alternatives.is_empty() {
        let alternatives: Vec<String> = decision.alternatives.iter().map(|it| plain(it)).collect();
        text.push_str("; allowed would be: ");
        text.push_str(&alternatives.join("; "));
    }
    text
}

/// Returns the exit status as a shell would report it.
fn status(result: &CommandResult<'_>) -> u8 {
    if result.timed_out {
        return TIMED_OUT;
    }
    match result.signal.as_deref() {
        Some(name) => 128 + signal_number(name),
        None => u8::try_from(result.exit_code).unwrap_or(255),
    }
}

/// Returns the Linux number of a signal name of SSH (RFC 4254 section 6.10).
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

/// Builds the remote command line: a single word is used as it is, several words are quoted so that the shell does
/// not split or expand them.
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
    use std::borrow::Cow;

    use ephyr_api::CommandOutput;

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
    fn single_word_is_a_command_line_and_several_are_quoted() {
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
    fn exit_status_is_that_of_a_shell() {
        let result = |exit_code, signal: Option<&'static str>, timed_out| CommandResult {
            output: CommandOutput {
                stdout: "".into(),
                stderr: "".into(),
                encoding: Encoding::Text,
                stdout_bytes: 0,
                stderr_bytes: 0,
                stdout_lossy: false,
                stderr_lossy: false,
                truncated: false,
            },
            exit_code,
            signal: signal.map(Into::into),
            timed_out,
            target: Cow::Owned("web".parse().unwrap()),
            role: Cow::Owned("read".parse().unwrap()),
            duration_ms: 0,
            receipt: None,
        };
        assert_eq!(status(&result(7, None, false)), 7);
        assert_eq!(status(&result(-1, Some("TERM"), false)), 143);
        assert_eq!(status(&result(-1, None, true)), 124);
    }
}
