//! Lines on stderr, one an event; systemd's journal reads the rank from their prefix (sd-daemon(3)).
//! Nothing secret is ever passed here.

use std::fmt::Write as _;
use std::io::Write as _;

pub(crate) fn info(text: &str) {
    line(6, text);
}

pub(crate) fn warning(text: &str) {
    line(4, text);
}

pub(crate) fn error(text: &str) {
    line(3, text);
}

/// To stdout, for `--help` and `--version`.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A signer that panicked is in no state to sign: it ends at once, and the service manager starts it
/// again.
pub(crate) fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        error(&format!("panic, aborting: {panic}"));
        std::process::abort();
    }));
}

/// A reader of stderr that went away must not stop the signer.
fn line(rank: u8, text: &str) {
    let mut out = String::with_capacity(text.len() + 4);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        let _ = write!(out, "<{rank}>");
    }
    for c in text.trim_end().chars() {
        out.push(if c.is_control() { ' ' } else { c });
    }
    out.push('\n');
    let _ = std::io::stderr().write_all(out.as_bytes());
}
