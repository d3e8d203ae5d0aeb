//! Lines on stderr, one an event; systemd's journal reads the rank from their prefix (sd-daemon(3)).

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

/// Someone must look at it now.
pub(crate) fn alert(text: &str) {
    line(1, text);
}

/// A reader of stderr that went away must not stop the guard.
fn line(rank: u8, text: &str) {
    let mut out = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => format!("<{rank}>"),
        None if rank == 1 => "ALERT ".to_owned(),
        None => String::new(),
    };
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    out.extend(text.trim_end().chars().map(plain));
    out.push('\n');
    let _ = std::io::stderr().write_all(out.as_bytes());
}
