//! The sealed text of an `exec` certificate: the command, the watcher that can end it, and the proof that
//! it started.
//!
//! sshd delivers no signals to a forced command and lets it run on when the connection is cut (seen with
//! OpenSSH 9.2 and 10), so a timeout or a revoked task could not end it. Therefore a small watcher goes
//! before the command. It ends the command's process group (TERM, after 2 s KILL) when the connection
//! ends while the command's shell still lives. It is no child of that shell, keeps none of its output
//! and goes away with it, so that the command means what it meant without.
//!
//! sshd passes the text to the account's login shell, which may parse it differently or not at all. So the three
//! lines are written such that a shell that does not start the watcher does not reach the command.

/// Makes csh exit at once: there `$?PATH` tests whether `PATH` is set, and `exit` would not leave the text.
/// In a POSIX shell it is the status of `:`, followed by `PATH`. fish rejects the whole text because of it.
const GUARD: &str = ":; test \"$?PATH\" = 0PATH || exec false\n";

/// The watcher holds the channel's standard input: the broker ends the command by closing it, and a broken
/// connection closes it too. Input lines are discarded. The command gets `/dev/null`.
const WATCHER: &str = "( exec 3<&0; ( exec <&3 3<&- 1</dev/null 2</dev/null; trap '' HUP INT TERM; \
    while read -r x; do :; done; kill -0 $$ && { kill -s TERM 0; sleep 2; kill -s KILL 0; } ) & ) || exit 126; \
    exec </dev/null; ";

/// Prints [`SEALED_BEGINS`]. A shell that only echoes the text, for example in an error, does not print it.
const ANNOUNCE: &str = "echo \"ephyr-sealed-$((6*7))\"\n";

/// The line on standard output that proves that the watcher runs and the command starts. Output of the
/// shell's startup files comes before it.
pub const SEALED_BEGINS: &str = "ephyr-sealed-42\n";

/// Names of shells that run a sealed text correctly, each tested with OpenSSH's server. `ash` is busybox.
/// AT&T's ksh (`ksh`, `ksh93`) is excluded: the watcher is a child of the shell, so `wait` waits for it.
pub const SEALED_SHELLS: [&str; 9] = [
    "ash", "bash", "dash", "lksh", "mksh", "rbash", "sh", "yash", "zsh",
];

/// Returns whether a login shell is known to run sealed texts, by the last component of its path.
#[must_use]
pub fn runs_sealed_commands(shell: &str) -> bool {
    let name = shell.rsplit('/').next().unwrap_or_default();
    SEALED_SHELLS.contains(&name)
}

/// The `force-command` of a certificate that is sealed to `command`. The signer derives it, and sshd
/// runs it by `<login shell> -c`, whatever the client asks for. The command's standard input is `/dev/null`.
#[must_use]
pub fn sealed_command(command: &str) -> String {
    [GUARD, WATCHER, ANNOUNCE, command].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_stands_unchanged_at_the_end_behind_the_proof() {
        let sealed = sealed_command("echo 'a'; cat");
        assert!(sealed.ends_with("6*7))\"\necho 'a'; cat"), "{sealed}");
        assert_eq!(sealed.lines().count(), 3, "errors of shells count lines");
        assert!(sealed.contains("exec </dev/null; "), "{sealed}");
        assert!(
            !sealed.contains(SEALED_BEGINS.trim_end()),
            "a shell that echoes the text would seem to run it"
        );
    }

    #[test]
    fn a_shell_is_known_by_the_last_part_of_its_path() {
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
