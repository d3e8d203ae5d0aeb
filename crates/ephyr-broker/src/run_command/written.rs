//! What a command wrote, as answers give it: text for models, base64 for programs that need every byte.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ephyr_ssh::ExecOutput;
use serde::{Deserialize, Serialize};

use super::pieces;

/// How an answer writes a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As text; bytes that are no UTF-8 are replaced, and the answer says so.
    #[default]
    Text,
    /// As base64 of the bytes.
    Base64,
}

impl Encoding {
    pub(super) fn is_text(&self) -> bool {
        *self == Self::Text
    }

    /// One piece of output on its way to a caller that watches: which output, how many bytes were there before
    /// it, and the bytes.
    pub(super) fn piece(stream: &str, offset: u64, data: &[u8]) -> String {
        format!("{stream} {offset} {}", STANDARD.encode(data))
    }
}

/// What a command wrote until it ended, or until its connection did.
#[derive(Serialize)]
pub struct Written<'a> {
    stdout: Cow<'a, str>,
    stderr: Cow<'a, str>,
    #[serde(skip_serializing_if = "Encoding::is_text")]
    encoding: Encoding,
    /// How many bytes the command wrote, kept or not.
    stdout_bytes: u64,
    stderr_bytes: u64,
    /// Whether bytes that are no UTF-8 were replaced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stdout_lossy: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stderr_lossy: bool,
    /// Whether there was more than is kept.
    truncated: bool,
}

impl<'a> Written<'a> {
    /// What the command wrote, in this encoding.
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

    /// Adds what was written to an error, for a reader of text.
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

/// The bytes in an encoding, and whether some could not be written in it.
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
