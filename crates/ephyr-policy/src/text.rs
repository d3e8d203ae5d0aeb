//! Quotes text of a policy in messages.

/// The diagnostic code and the message for an invalid text.
pub(crate) type TextFault = (&'static str, String);

/// Returns at most the first 60 characters, with control characters escaped: enough to recognize the text.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().count() > 60 {
        short.push('…');
    }
    short
}
