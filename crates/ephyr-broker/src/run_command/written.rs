//! A command's output in results: text for models, base64 for programs that need every byte.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ephyr_ssh::ExecOutput;
use serde::{Deserialize, Serialize};

use super::pieces;

/// The encoding of a command's output in a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Text; bytes that are not UTF-8 are replaced, and the result says so.
    #[default]
    Text,
    /// Base64 of the bytes.
    Base64,
}

impl Encoding {
    pub(super) fn is_text(&self) -> bool {
        *self == Self::Text
    }

    /// Formats one piece of output for a caller's progress: the stream, the byte offset and the bytes.
    pub(super) fn piece(stream: &str, offset: u64, data: &[u8]) -> String {
        format!("{stream} {offset} {}", STANDARD.encode(data))
    }
}

/// The output of a command until it or its connection ended.
#[derive(Serialize)]
pub struct Written<'a> {
    stdout: Cow<'a, str>,
    stderr: Cow<'a, str>,
    #[serde(skip_serializing_if = "Encoding::is_text")]
    encoding: Encoding,
    /// How many bytes the command wrote, kept or not.
    stdout_bytes: u64,
    stderr_bytes: u64,
    /// Whether bytes that are not UTF-8 were replaced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stdout_lossy: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stderr_lossy: bool,
    /// Whether output beyond the limit was dropped.
    truncated: bool,
}

impl<'a> Written<'a> {
    /// Encodes the command's output.
    #[must_use]
    pub fn new(output: &'a ExecOutput, encoding: Encoding) -> Self {
        let (stdout, stdout_lossy) = encode(&output.stdout, output.stdout_truncated, encoding);
        let (stderr, stderr_lossy) = encode(&output.stderr, output.stderr_truncated, encoding);
        Self {
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

    /// Appends the output to an error message.
    pub(super) fn append_to(&self, message: &mut String) {
        use std::fmt::Write as _;
        if self.encoding != Encoding::Text {
            return;
        }
        for (name, text) in [
            ("standard output", &self.stdout),
            ("standard error", &self.stderr),
        ] {
            if !text.is_empty() {
                let _ = write!(message, "\n\n{name} until then:\n{text}");
            }
        }
        if self.truncated {
            message.push_str("\n\n(output beyond the limit was dropped)");
        }
    }
}

/// Returns the encoded bytes, and whether some could not be represented.
fn encode(bytes: &[u8], truncated: bool, encoding: Encoding) -> (Cow<'_, str>, bool) {
    match encoding {
        Encoding::Base64 => (STANDARD.encode(bytes).into(), false),
        Encoding::Text => {
            let text = String::from_utf8_lossy(pieces::cut(bytes, truncated));
            let lossy = matches!(text, Cow::Owned(_));
            (text, lossy)
        }
    }
}
