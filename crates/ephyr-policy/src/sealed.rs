//! The text that an `exec` certificate is sealed to: the command, and what makes it possible to end it.
//!
//! sshd delivers no signals to a forced command and lets it run on when the connection is cut (seen with
//! OpenSSH 9.2 and 10), so a timeout or a revoked task could not end it. Therefore a small watcher goes
//! before the command. It ends the command's process group (TERM, after 2 s KILL) when the connection
//! ends while the command's shell still lives. It is no child of that shell, keeps none of its output
//! and goes away with it, so that the command means what it meant without.

/// For a command without standard input. The watcher keeps the channel's standard input: the broker
/// ends the command by closing it, and a broken connection closes it too. Lines that come in are for
/// nobody. The command gets `/dev/null`.
const WATCH_STDIN: &str = "( exec 3<&0; ( exec <&3 3<&- 1</dev/null 2</dev/null; trap '' HUP INT TERM; \
    while read -r x; do :; done; kill -0 $$ && { kill -s TERM 0; sleep 2; kill -s KILL 0; } ) & )\nexec </dev/null\n";

/// For a command that reads standard input: the watcher looks once a second whether the process that
/// sshd keeps for the connection still lives.
const WATCH_PARENT: &str = "( ( exec </dev/null 1</dev/null 2</dev/null; trap '' HUP INT TERM; \
    while sleep 1; do kill -0 $$ || exit; kill -0 $PPID || break; done; \
    kill -s TERM 0; sleep 2; kill -s KILL 0 ) & )\n";

/// The `force-command` of a certificate that is sealed to `command`. The signer derives it, and sshd
/// runs it by `<login shell> -c`, whatever the client asks for.
///
/// `stdin`: whether the role's commands may read standard input; if not, theirs is `/dev/null`.
#[must_use]
pub fn sealed_command(command: &str, stdin: bool) -> String {
    let watcher = if stdin { WATCH_PARENT } else { WATCH_STDIN };
    [watcher, command].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_stands_unchanged_at_the_end_and_stdin_is_closed_unless_granted() {
        let sealed = sealed_command("echo 'a'; cat", false);
        assert!(
            sealed.ends_with("\nexec </dev/null\necho 'a'; cat"),
            "{sealed}"
        );
        assert!(sealed_command("cat", true).ends_with(" & )\ncat"));
        assert!(!sealed_command("cat", true).contains("exec </dev/null\n"));
    }
}
