//! Encodes a command's output for results: text for models, base64 for programs that need every byte.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ephyr_api::{CommandOutput, Encoding};
use ephyr_ssh::ExecOutput;

use super::pieces;

/// Encodes the command's output.
pub(super) fn written(output: &ExecOutput, encoding: Encoding) -> CommandOutput<'_> {
    let (stdout, stdout_lossy) = encode(&output.stdout, output.stdout_truncated, encoding);
    let (stderr, stderr_lossy) = encode(&output.stderr, output.stderr_truncated, encoding);
    CommandOutput {
        stdout,
        stderr,
        encoding,
        stdout_bytes: output.stdout_bytes,
        stderr_bytes: output.stderr_bytes,
        stdout_lossy,
        stderr_lossy,
        truncated: output.stdout_truncated || output.stderr_truncated,
    }
}

/// Appends the output to an error message, if the encoding is text.
pub(super) fn append(output: &CommandOutput<'_>, message: &mut String) {
    if output.encoding != Encoding::Text {
        return;
    }
    for (name, text) in [
        ("standard output", &output.stdout),
        ("standard error", &output.stderr),
    ] {
        if !text.is_empty() {
            let _ = write!(message, "\n\n{name} until then:\n{text}");
        }
    }
    if output.truncated {
        message.push_str("\n\n(output beyond the limit was dropped)");
    }
}

/// Returns the encoded bytes, and whether some were replaced because they are not UTF-8.
fn encode(bytes: &[u8], truncated: bool, encoding: Encoding) -> (Cow<'_, str>, bool) {
    match encoding {
        Encoding::Base64 => (STANDARD.encode(bytes).into(), false),
        Encoding::Text => {
            let text = String::from_utf8_lossy(pieces::trim_partial_character(bytes, truncated));
            let lossy = matches!(text, Cow::Owned(_));
            (text, lossy)
        }
    }
}
