//! Request headers: content negotiation, and the headers that repeat values of the body.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::RpcError;

/// The protocol version of a request.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The session id (2025 versions).
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// Repeats the method (2026-07-28).
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// Repeats the tool's name or the resource's URI (2026-07-28).
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The media types that a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) json: bool,
    pub(crate) events: bool,
}

/// Parses the `Accept` headers. Without any, everything is acceptable (RFC 9110, 12.5.1).
pub(crate) fn accepted(headers: &HeaderMap) -> Accepted {
    let mut accepted = Accepted {
        json: false,
        events: false,
    };
    if !headers.contains_key(ACCEPT) {
        return Accepted {
            json: true,
            events: true,
        };
    }
    for value in headers.get_all(ACCEPT) {
        for range in value.as_bytes().split(|&byte| byte == b',') {
            let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let kind = parts.next().unwrap_or_default();
            if parts.any(is_zero_weight) {
                continue;
            }
            let is = |name: &[u8]| kind.eq_ignore_ascii_case(name);
            accepted.json |= is(b"application/json") || is(b"application/*") || is(b"*/*");
            accepted.events |= is(b"text/event-stream") || is(b"text/*") || is(b"*/*");
        }
    }
    accepted
}

fn is_zero_weight(parameter: &[u8]) -> bool {
    let Some(weight) = parameter
        .strip_prefix(b"q=")
        .or_else(|| parameter.strip_prefix(b"Q="))
    else {
        return false;
    };
    weight.starts_with(b"0") && weight.iter().all(|byte| matches!(byte, b'0' | b'.'))
}

/// Returns whether the content type is JSON, with UTF-8 as the only charset allowed.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let mut parts = value
        .as_bytes()
        .split(|&byte| byte == b';')
        .map(<[u8]>::trim_ascii);
    let kind = parts.next().unwrap_or_default();
    kind.eq_ignore_ascii_case(b"application/json")
        && parts.all(|parameter| {
            let parameter = parameter.to_ascii_lowercase();
            match parameter.strip_prefix(b"charset=") {
                Some(charset) => charset == b"utf-8" || charset == b"\"utf-8\"",
                None => true,
            }
        })
}

/// Returns the value of a header; an error if it occurs more than once.
pub(crate) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, RpcError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(RpcError::header_mismatch(format!(
            "the header {name} is given more than once"
        ))),
    }
}

/// Returns the value of a header as text; an error if it occurs more than once or is not ASCII.
pub(crate) fn single_text<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, RpcError> {
    let Some(value) = single(headers, name)? else {
        return Ok(None);
    };
    value.to_str().map(Some).map_err(|_| {
        RpcError::header_mismatch(format!(
            "the header {name} holds characters that are not ASCII"
        ))
    })
}

const SENTINEL: (&str, &str) = ("=?base64?", "?=");

/// Encodes a text as a header value: unchanged if that is safe, else base64 between markers (2026-07-28,
/// Streamable HTTP, "Value Encoding").
#[must_use]
pub fn encode_value(text: &str) -> Cow<'_, str> {
    let safe = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let bare = text.trim_matches([' ', '\t']).len() == text.len();
    let marked = text.starts_with(SENTINEL.0) && text.ends_with(SENTINEL.1);
    if safe && bare && !marked {
        Cow::Borrowed(text)
    } else {
        let encoded = STANDARD.encode(text);
        Cow::Owned(format!("{}{encoded}{}", SENTINEL.0, SENTINEL.1))
    }
}

/// Decodes a header value; `None` if the markers enclose anything but base64 of UTF-8.
pub(crate) fn decode_value(value: &str) -> Option<Cow<'_, str>> {
    let enclosed = value
        .strip_prefix(SENTINEL.0)
        .and_then(|rest| rest.strip_suffix(SENTINEL.1));
    match enclosed {
        None => Some(Cow::Borrowed(value)),
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).ok()?;
            String::from_utf8(bytes).ok().map(Cow::Owned)
        }
    }
}

/// Checks the headers that must repeat values of the body (2026-07-28).
pub(crate) fn check_mirrors(
    headers: &HeaderMap,
    method: &str,
    subject: Option<&str>,
) -> Result<(), RpcError> {
    let named = single_text(headers, &METHOD)?;
    if named != Some(method) {
        return Err(mirror(&METHOD, named.is_none()));
    }
    let Some(subject) = subject else {
        return Ok(());
    };
    let named = single_text(headers, &NAME)?;
    if named.and_then(decode_value).as_deref() != Some(subject) {
        return Err(mirror(&NAME, named.is_none()));
    }
    Ok(())
}

fn mirror(header: &HeaderName, missing: bool) -> RpcError {
    RpcError::header_mismatch(if missing {
        format!("the header {header} is missing: it must repeat the body's value")
    } else {
        format!("the header {header} does not repeat the body's value")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn accept_is_parsed_with_ranges_and_weights() {
        let both = Accepted {
            json: true,
            events: true,
        };
        let json = Accepted {
            json: true,
            events: false,
        };
        let events = Accepted {
            json: false,
            events: true,
        };
        let none = Accepted {
            json: false,
            events: false,
        };
        assert_eq!(accepted(&HeaderMap::new()), both);
        for (value, expected) in [
            ("application/json, text/event-stream", both),
            ("*/*", both),
            ("Application/JSON", json),
            ("application/json;q=0.5", json),
            ("application/json;q=0, text/event-stream", events),
            ("application/*, text/*;q=0.0", json),
            ("text/html", none),
            ("", none),
        ] {
            assert_eq!(accepted(&headers(ACCEPT, value)), expected, "{value}");
        }
    }

    #[test]
    fn only_utf_8_json_is_accepted_as_json() {
        for good in [
            "application/json",
            "Application/Json; charset=UTF-8",
            "application/json;v=1",
        ] {
            assert!(is_json(&headers(CONTENT_TYPE, good)), "{good}");
        }
        for bad in [
            "text/plain",
            "application/jsonp",
            "application/json; charset=utf-16",
            "",
        ] {
            assert!(!is_json(&headers(CONTENT_TYPE, bad)), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
        let mut twice = headers(CONTENT_TYPE, "application/json");
        twice.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert!(!is_json(&twice));
    }

    #[test]
    fn values_are_encoded_as_in_the_specification() {
        for (text, value) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode_value(text), value);
            assert_eq!(decode_value(value).as_deref(), Some(text));
        }
        assert_eq!(decode_value("=?base64?%%?="), None);
    }

    proptest! {
        #[test]
        fn encoded_value_decodes_to_the_same_text(name in any::<String>()) {
            let value = encode_value(&name);
            prop_assert!(HeaderValue::from_str(&value).is_ok());
            let decoded = decode_value(&value);
            prop_assert_eq!(decoded.as_deref(), Some(&*name));
        }
    }
}
