//! The daemons' log: one line on standard error for each message. systemd's journal reads the priority from the prefix
//! described in sd-daemon(3). Secrets are never passed here.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::LazyLock;

/// The priorities of syslog(3) that the daemons use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Priority {
    Alert = 1,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
}

/// Logs what an operator must act on at once, such as signs of tampering.
pub fn alert(text: &str) {
    write(Priority::Alert, text);
}

/// Logs a failure: something was not done.
pub fn error(text: &str) {
    write(Priority::Error, text);
}

/// Logs a condition that weakens the daemon or will fail later.
pub fn warning(text: &str) {
    write(Priority::Warning, text);
}

/// Logs a change that operators look for, such as a policy that takes effect.
pub fn notice(text: &str) {
    write(Priority::Notice, text);
}

/// Logs normal operation.
pub fn info(text: &str) {
    write(Priority::Info, text);
}

fn write(priority: Priority, text: &str) {
    // A daemon whose standard error is closed continues.
    let _ = io::stderr().write_all(line(priority, text, *IS_JOURNAL).as_bytes());
}

/// Returns one line. Control characters become spaces: text from elsewhere can neither start a line of its own nor
/// control a terminal.
fn line(priority: Priority, text: &str, is_journal: bool) -> String {
    let mut line = String::with_capacity(text.len() + 8);
    if is_journal {
        let _ = write!(line, "<{}>", priority as u8);
    } else if priority == Priority::Alert {
        line.push_str("ALERT ");
    }
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    line.extend(text.trim_end().chars().map(plain));
    line.push('\n');
    line
}

/// Whether standard error is the journal. Child processes inherit the variable even if their standard error is
/// redirected, so it identifies the file by device and inode (systemd.exec(5)).
static IS_JOURNAL: LazyLock<bool> = LazyLock::new(|| {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let Some((device, inode)) = named.as_deref().and_then(|named| named.split_once(':')) else {
        return false;
    };
    let stderr = io::stderr();
    rustix::fs::fstat(stderr.as_fd())
        .is_ok_and(|found| device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino))
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_gets_the_priority_and_a_terminal_only_alerts() {
        for (priority, prefix, word) in [
            (Priority::Alert, "<1>", "ALERT "),
            (Priority::Error, "<3>", ""),
            (Priority::Warning, "<4>", ""),
            (Priority::Notice, "<5>", ""),
            (Priority::Info, "<6>", ""),
        ] {
            assert_eq!(line(priority, "text", true), format!("{prefix}text\n"));
            assert_eq!(line(priority, "text", false), format!("{word}text\n"));
        }
    }

    #[test]
    fn message_is_one_line_without_control_characters() {
        let forged = "name\n<1>forged\u{1b}[2J\r\tend\n\n";
        let written = line(Priority::Info, forged, true);
        assert_eq!(written, "<6>name <1>forged [2J  end\n");
    }
}
