//! Zero-copy parsing of JSON-RPC 2.0 messages: ids, parameters and arguments are slices of the body.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::error::{INVALID_REQUEST, PARSE_ERROR, RpcError};
use crate::limits::{MAX_BATCH, MAX_DEPTH, MAX_ID_BYTES};

/// The parsed body of a POST.
pub(crate) enum Posted<'a> {
    One(Incoming<'a>),
    /// The messages of a batch. Each is parsed separately, so an invalid one does not affect the others.
    Batch(Vec<Result<Incoming<'a>, Unreadable<'a>>>),
}

/// One message.
pub(crate) enum Incoming<'a> {
    Request {
        id: Id<'a>,
        method: Cow<'a, str>,
        params: Option<&'a RawValue>,
    },
    Notification {
        method: Cow<'a, str>,
        params: Option<&'a RawValue>,
    },
    /// A response. This server sends no requests, so it expects none.
    Response,
}

/// The error for a message that is not JSON-RPC, with its id if that is valid.
pub(crate) struct Unreadable<'a> {
    pub(crate) id: Option<Id<'a>>,
    pub(crate) error: RpcError,
}

/// A request id, a string or an integer, as the JSON text that the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id<'a>(&'a str);

impl<'a> Id<'a> {
    /// Parses an id or a progress token; the same rules apply to both.
    pub(crate) fn of(raw: &'a RawValue) -> Option<Self> {
        let text = raw.get();
        let fits = text.len() <= MAX_ID_BYTES && (text.starts_with('"') || is_integer(text));
        fits.then_some(Self(text))
    }

    pub(crate) fn as_json(self) -> &'a str {
        self.0
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses a request's body.
pub(crate) fn read(body: &[u8]) -> Result<Posted<'_>, Unreadable<'_>> {
    let text = std::str::from_utf8(body)
        .map_err(|_| RpcError::new(PARSE_ERROR, "the body is not UTF-8"))?;
    if is_deeper_than(body, MAX_DEPTH) {
        return Err(Unreadable::from(RpcError::invalid_request(format!(
            "the body is nested more than {MAX_DEPTH} levels deep"
        ))));
    }
    if text.trim_start().starts_with('[') {
        return read_batch(text).map_err(Unreadable::from);
    }
    read_message(text).map(Posted::One)
}

fn read_batch(text: &str) -> Result<Posted<'_>, RpcError> {
    let messages: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    if messages.is_empty() {
        return Err(RpcError::invalid_request("the batch is empty"));
    }
    if messages.len() > MAX_BATCH {
        return Err(RpcError::invalid_request(format!(
            "the batch has {} messages; the limit is {MAX_BATCH}",
            messages.len()
        )));
    }
    let messages = messages
        .into_iter()
        .map(|message| read_message(message.get()));
    Ok(Posted::Batch(messages.collect()))
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Distinguishes `null` from absence: a null id is an error, a message without id is a notification.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn read_message(text: &str) -> Result<Incoming<'_>, Unreadable<'_>> {
    // Derived `Deserialize` also accepts a list of the members.
    if !text.trim_start().starts_with('{') {
        return Err(match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => RpcError::invalid_request("a message is a JSON object").into(),
            Err(error) => not_json(&error).into(),
        });
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    let id = envelope.id.and_then(Id::of);
    let refuse = |message: &str| {
        let error = RpcError::invalid_request(message);
        Err(Unreadable { id, error })
    };
    if envelope
        .jsonrpc
        .is_none_or(|version| version.get() != r#""2.0""#)
    {
        return refuse("jsonrpc must be \"2.0\"");
    }
    let Some(method) = envelope.method else {
        return if envelope.result.is_some() || envelope.error.is_some() {
            Ok(Incoming::Response)
        } else {
            refuse("the message has no method")
        };
    };
    let Some(method) = text_of(method) else {
        return refuse("method must be a string");
    };
    let params = envelope.params;
    match (envelope.id, id) {
        (None, _) => Ok(Incoming::Notification { method, params }),
        (Some(_), Some(id)) => Ok(Incoming::Request { id, method, params }),
        (Some(_), None) => refuse(&format!(
            "id must be a string or an integer of at most {MAX_ID_BYTES} bytes"
        )),
    }
}

/// Returns the error for invalid JSON. It names the position and never repeats the text, which may be a
/// secret.
fn not_json(error: &serde_json::Error) -> RpcError {
    if error.is_data() {
        return RpcError::new(
            INVALID_REQUEST,
            "a message is a JSON object, with each member at most once",
        );
    }
    let (line, column) = (error.line(), error.column());
    RpcError::new(
        PARSE_ERROR,
        format!("not JSON at line {line} column {column}"),
    )
}

impl From<RpcError> for Unreadable<'_> {
    fn from(error: RpcError) -> Self {
        Self { id: None, error }
    }
}

/// Returns the text of a JSON string.
pub(crate) fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get())
        .ok()
        .map(|text| text.0)
}

fn is_deeper_than(body: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> RpcError {
        match read(body.as_bytes()) {
            Err(unreadable) => unreadable.error,
            Ok(_) => panic!("{body} was accepted"),
        }
    }

    #[test]
    fn requests_notifications_and_responses_are_distinguished() {
        let read = |body: &'static str| match read(body.as_bytes()) {
            Ok(Posted::One(incoming)) => incoming,
            _ => panic!("{body}"),
        };
        let request = read(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#);
        assert!(matches!(
            request,
            Incoming::Request {
                id: Id("\"a\""),
                ..
            }
        ));
        let notification = read(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        assert!(matches!(notification, Incoming::Notification { .. }));
        let response = read(r#"{"jsonrpc":"2.0","id":1,"result":null}"#);
        assert!(matches!(response, Incoming::Response));
    }

    #[test]
    fn an_id_is_a_short_string_or_an_integer() {
        let long = format!("\"{}\"", "x".repeat(MAX_ID_BYTES));
        for bad in ["null", "1.5", "1e3", "true", "[]", "{}", "-", &long] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{bad},"method":"ping"}}"#);
            let error = refused(&body);
            assert!(
                [INVALID_REQUEST, PARSE_ERROR].contains(&error.code),
                "{bad}"
            );
        }
        for good in ["0", "-7", "123456789012345678901234567890", "\"\\u00e9\""] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{good},"method":"ping"}}"#);
            match read(body.as_bytes()) {
                Ok(Posted::One(Incoming::Request { id, .. })) => assert_eq!(id.as_json(), good),
                _ => panic!("{good} was refused"),
            }
        }
    }

    #[test]
    fn invalid_json_and_invalid_messages_have_different_codes() {
        for bad in [
            "",
            "{",
            "nonsense",
            "{\"a\":1}}",
            "[1,",
            "\u{1}",
            r#"{"jsonrpc":"2.0" "id":1}"#,
        ] {
            assert_eq!(refused(bad).code, PARSE_ERROR, "{bad}");
        }
        assert_eq!(
            read(b"{\"jsonrpc\":\"\xff\"}").err().map(|e| e.error.code),
            Some(PARSE_ERROR)
        );
        for bad in [
            "5",
            "null",
            "\"text\"",
            "{}",
            "[]",
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        ] {
            assert_eq!(refused(bad).code, INVALID_REQUEST, "{bad}");
        }
    }

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_deeper_than(nested(MAX_DEPTH).as_bytes(), MAX_DEPTH));
        assert!(is_deeper_than(nested(MAX_DEPTH + 1).as_bytes(), MAX_DEPTH));
        let text = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1000));
        assert!(!is_deeper_than(text.as_bytes(), MAX_DEPTH));
        assert_eq!(refused(&nested(500_000)).code, INVALID_REQUEST);
    }

    #[test]
    fn batch_is_limited_and_its_messages_are_independent() {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let body = format!(r#"[{ping},7,["2.0",1,"ping"]]"#);
        match read(body.as_bytes()) {
            Ok(Posted::Batch(messages)) => {
                assert!(messages[0].is_ok());
                assert!(messages[1].is_err());
                assert!(messages[2].is_err());
            }
            _ => panic!("not a batch"),
        }
        let body = format!("[{}]", vec![ping; MAX_BATCH + 1].join(","));
        assert_eq!(refused(&body).code, INVALID_REQUEST);
    }
}
