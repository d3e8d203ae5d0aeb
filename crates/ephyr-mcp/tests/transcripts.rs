//! Replays the transcripts of each version in `transcripts/`: requests and the responses required by the
//! specification.
//!
//! In an expected response, `$any` matches any value, and a header that is null must be absent. `keep`
//! stores a response header for use as `${name}` in later requests.

#![cfg(test)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::Mock;
use ephyr_mcp::{Body, Server, SessionKey};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    #[expect(dead_code, reason = "for readers of the file")]
    about: String,
    headers: HashMap<String, String>,
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    name: String,
    caller: String,
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    headers: HashMap<String, Option<String>>,
    body: Option<Value>,
    text: Option<String>,
    expect: Expect,
    #[serde(default)]
    keep: HashMap<String, String>,
}

fn post() -> String {
    "POST".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    status: u16,
    #[serde(default)]
    headers: HashMap<String, Option<String>>,
    #[serde(default, deserialize_with = "present")]
    body: Option<Value>,
    events: Option<Vec<Value>>,
    text: Option<String>,
}

/// Distinguishes `null`, which expects an empty body, from absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

async fn replay(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/transcripts")
        .join(file);
    let transcript: Transcript = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mock = Arc::new(Mock::new().unwrap());
    let server = mock.server(SessionKey::from_bytes([7; 32])).unwrap();
    let mut kept = HashMap::new();
    assert!(!transcript.exchanges.is_empty());
    for exchange in &transcript.exchanges {
        let response = send(&server, &transcript.headers, exchange, &kept).await;
        for (name, header) in &exchange.keep {
            let value = response.headers()[header].to_str().unwrap().to_owned();
            kept.insert(format!("${{{name}}}"), value);
        }
        check(&exchange.name, &exchange.expect, response).await;
    }
}

async fn send(
    server: &Server<Mock>,
    defaults: &HashMap<String, String>,
    exchange: &Exchange,
    kept: &HashMap<String, String>,
) -> Response<Body> {
    let mut headers: HashMap<&String, &String> = defaults.iter().collect();
    for (name, value) in &exchange.headers {
        match value {
            Some(value) => headers.insert(name, kept.get(value).unwrap_or(value)),
            None => headers.remove(name),
        };
    }
    let mut request = Request::new(());
    *request.method_mut() = exchange.method.parse().unwrap();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request
            .headers_mut()
            .insert(name, HeaderValue::from_str(value).unwrap());
    }
    let body = match (&exchange.body, &exchange.text) {
        (Some(body), None) => body.to_string(),
        (None, Some(text)) => text.clone(),
        _ => panic!("{}: needs either body or text", exchange.name),
    };
    let (parts, ()) = request.into_parts();
    server
        .handle(&exchange.caller, &parts, &Bytes::from(body))
        .await
}

async fn check(name: &str, expect: &Expect, response: Response<Body>) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    assert_eq!(parts.status.as_u16(), expect.status, "{name}: {text}");
    for (header, value) in &expect.headers {
        let found = parts
            .headers
            .get(header)
            .map(|found| found.to_str().unwrap());
        match value.as_deref() {
            Some("$any") => assert!(found.is_some(), "{name}: {header}"),
            value => assert_eq!(found, value, "{name}: {header}"),
        }
    }
    match (&expect.body, &expect.events, &expect.text) {
        (Some(Value::Null), None, None) => assert_eq!(text, "", "{name}"),
        (Some(expected), None, None) => compare(name, expected, text),
        (None, Some(expected), None) => {
            let found: Vec<&str> = text
                .split_terminator("\n\n")
                .map(|event| event.strip_prefix("event: message\ndata: ").unwrap())
                .collect();
            assert_eq!(found.len(), expected.len(), "{name}: {text}");
            for (expected, found) in expected.iter().zip(found) {
                compare(name, expected, found);
            }
        }
        (None, None, Some(expected)) => assert_eq!(text, expected, "{name}"),
        _ => panic!("{name}: needs exactly one of body, events and text"),
    }
}

fn compare(name: &str, expected: &Value, found: &str) {
    let value: Value = serde_json::from_str(found).unwrap();
    assert!(
        matches(expected, &value),
        "{name}:\nexpected {expected}\nfound    {found}"
    );
}

fn matches(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(any), _) if any == "$any" => true,
        (Value::Object(expected), Value::Object(found)) => {
            expected.len() == found.len()
                && expected
                    .iter()
                    .all(|(name, value)| found.get(name).is_some_and(|f| matches(value, f)))
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(e, f)| matches(e, f))
        }
        (expected, found) => expected == found,
    }
}

macro_rules! transcripts {
    ($($test:ident: $file:literal,)*) => {
        $(#[tokio::test]
        async fn $test() {
            replay($file).await;
        })*

        #[test]
        fn every_transcript_is_replayed() {
            let listed = [$($file),*];
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
            for entry in fs::read_dir(dir).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(listed.contains(&&*name), "{name}");
            }
        }
    };
}

transcripts! {
    version_2026_07_28: "2026-07-28.json",
    version_2025_11_25: "2025-11-25.json",
    version_2025_06_18: "2025-06-18.json",
    version_2025_03_26: "2025-03-26.json",
    hostile_input: "hostile.json",
}
