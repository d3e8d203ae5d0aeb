//! The sealed text of an `exec` certificate: a watcher that can end the command, a line that proves that the command
//! started, and the command.
//!
//! sshd delivers no signals to a forced command and does not end it when the connection is cut (observed with
//! OpenSSH 9.2 and 10), so a timeout or a revoked task could not end it. The watcher ends the command's process group
//! (TERM, KILL after 2 s) when the connection ends while the command's shell still runs. It is not a child of that
//! shell, holds none of its output and ends with it, so the command behaves as it would without the watcher.
//!
//! sshd passes the text to the account's login shell, which may not be a POSIX shell. The text has three lines,
//! ordered such that a shell that does not start the watcher does not reach the command.

/// Makes csh exit at once: in csh, `$?PATH` tests whether `PATH` is set, and `exit` would not leave the text.
/// In a POSIX shell, `$?PATH` is the status of `:` followed by `PATH`. fish rejects the whole text because of it.
const GUARD: &str = ":; test \"$?PATH\" = 0PATH || exec false\n";

/// Starts the watcher, which reads the channel's standard input: the broker closes it to end the command, and a
/// broken connection closes it too. Input lines are discarded. The command's standard input is `/dev/null`.
const WATCHER: &str = "( exec 3<&0; ( exec <&3 3<&- 1</dev/null 2</dev/null; trap '' HUP INT TERM; \
    while read -r x; do :; done; kill -0 $$ && { kill -s TERM 0; sleep 2; kill -s KILL 0; } ) & ) || exit 126; \
    exec </dev/null; ";

/// Prints [`SEALED_BEGINS`]. The arithmetic keeps the line out of output that only quotes the text, such as an error.
const ANNOUNCE: &str = "echo \"ephyr-sealed-$((6*7))\"\n";

/// The line on standard output that proves that the watcher runs and the command starts. The output of the shell's
/// startup files precedes it.
pub const SEALED_BEGINS: &str = "ephyr-sealed-42\n";

/// Names of shells that run a sealed text correctly, each tested with OpenSSH's server. `ash` is busybox.
/// AT&T's ksh (`ksh`, `ksh93`) is excluded: its `wait` waits for the watcher, which is a child of the shell there.
pub const SEALED_SHELLS: [&str; 9] = [
    "ash", "bash", "dash", "lksh", "mksh", "rbash", "sh", "yash", "zsh",
];

/// Returns whether a login shell is in [`SEALED_SHELLS`], by the last component of its path.
#[must_use]
pub fn runs_sealed_commands(shell: &str) -> bool {
    let name = shell.rsplit('/').next().unwrap_or_default();
    SEALED_SHELLS.contains(&name)
}

/// Returns the `force-command` of a certificate that is sealed to `command`. The signer derives it, and sshd runs it
/// by `<login shell> -c` whatever the client requests.
#[must_use]
pub fn sealed_command(command: &str) -> String {
    [GUARD, WATCHER, ANNOUNCE, command].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_text_ends_with_the_proof_and_the_unchanged_command() {
        let sealed = sealed_command("echo 'a'; cat");
        assert!(sealed.ends_with("6*7))\"\necho 'a'; cat"), "{sealed}");
        assert_eq!(
            sealed.lines().count(),
            3,
            "the shell's error messages count lines"
        );
        assert!(sealed.contains("exec </dev/null; "), "{sealed}");
        assert!(
            !sealed.contains(SEALED_BEGINS.trim_end()),
            "a shell that echoes the text must not print the proof"
        );
    }

    #[test]
    fn shells_are_recognised_by_the_last_path_component() {
        for shell in [
            "/bin/sh",
            "/usr/local/bin/bash",
            "/run/current-system/sw/bin/zsh",
        ] {
            assert!(runs_sealed_commands(shell), "{shell}");
        }
        for shell in [
            "/usr/bin/fish",
            "/bin/tcsh",
            "/usr/sbin/nologin",
            "/bin/false",
            "/bin/cat",
            "/usr/bin/ksh",
            "/bin/bash/",
            "/bin/busybox",
        ] {
            assert!(!runs_sealed_commands(shell), "{shell}");
        }
    }
}
