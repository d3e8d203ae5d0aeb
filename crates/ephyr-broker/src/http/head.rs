//! Checks a request's head on every path: refuses repeated headers and unknown expectations.
//!
//! A header that identifies the caller, the server or the page decides authorization. With two values, a proxy
//! and the server may each use a different one (CWE-444, RFC 9110 section 5.3), so such a request is refused.

use ephyr_mcp::{METHOD, NAME, PROTOCOL_VERSION, SESSION_ID};
use http::header::{AUTHORIZATION, EXPECT, HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Version};

/// The session token of the API.
pub(crate) const SESSION_TOKEN: HeaderName = HeaderName::from_static("x-session-token");
/// The proof of possession ([`ephyr_token::proof::HEADER`]).
const PROOF: HeaderName = HeaderName::from_static("ephyr-proof");

/// Headers whose values never contain a comma: a comma means that a proxy joined two of them.
static SINGLE: [HeaderName; 6] = [
    AUTHORIZATION,
    HOST,
    ORIGIN,
    PROOF,
    SESSION_ID,
    SESSION_TOKEN,
];
/// Headers that may also appear only once, but may have commas in a value.
static SINGLE_LINE: [HeaderName; 3] = [PROTOCOL_VERSION, METHOD, NAME];

/// Why a request's head is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    /// A header that must be unique is repeated.
    #[error("the header {0} is given more than once; send exactly one")]
    Repeated(HeaderName),
    /// An expectation other than `100-continue` (RFC 9110, 10.1.1).
    #[error("the header expect may only be 100-continue")]
    Expectation,
}

impl HeadError {
    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Repeated(_) => StatusCode::BAD_REQUEST,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
        }
    }

    /// The reason code of the API.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Repeated(_) => "header_repeated",
            Self::Expectation => "expectation_unknown",
        }
    }

    /// The JSON-RPC code.
    pub(super) fn rpc_code(&self) -> i32 {
        match self {
            Self::Repeated(_) => ephyr_mcp::HEADER_MISMATCH,
            Self::Expectation => ephyr_mcp::INVALID_REQUEST,
        }
    }
}

/// Checks a request's head.
pub(super) fn check(head: &Parts) -> Result<(), HeadError> {
    if let Some(name) = repeated(&head.headers) {
        return Err(HeadError::Repeated(name));
    }
    // HTTP/1.0 has no expectations, so the header is ignored there.
    let known = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if head.version > Version::HTTP_10 && !head.headers.get_all(EXPECT).iter().all(known) {
        return Err(HeadError::Expectation);
    }
    Ok(())
}

fn repeated(headers: &HeaderMap) -> Option<HeaderName> {
    let is_joined = |name: &&HeaderName| {
        headers
            .get(*name)
            .is_some_and(|value| value.as_bytes().contains(&b','))
    };
    let joined = SINGLE.iter().find(is_joined);
    // If the numbers of values and names are equal, no header is repeated.
    let twice = (headers.len() > headers.keys_len())
        .then(|| {
            let is_twice = |name: &&HeaderName| headers.get_all(*name).iter().nth(1).is_some();
            SINGLE.iter().chain(&SINGLE_LINE).find(is_twice)
        })
        .flatten();
    twice.or(joined).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_headers(version: Version, headers: &[(&str, &str)]) -> Result<(), HeadError> {
        let mut request = http::Request::post("/mcp").version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn identifying_headers_must_be_unique() {
        let checked = |headers: &[_]| check_headers(Version::HTTP_11, headers);
        for name in SINGLE.iter().chain(&SINGLE_LINE) {
            let name = name.as_str();
            assert_eq!(checked(&[(name, "a")]), Ok(()), "{name}");
            let twice = Err(HeadError::Repeated(name.parse().unwrap()));
            assert_eq!(checked(&[(name, "a"), (name, "a")]), twice, "{name}");
        }
        for name in &SINGLE {
            let joined = Err(HeadError::Repeated(name.clone()));
            assert_eq!(checked(&[(name.as_str(), "a, b")]), joined, "{name}");
        }
        let others = [("mcp-name", "mock://a,b"), ("accept", "a"), ("accept", "b")];
        assert_eq!(checked(&others), Ok(()));
    }

    #[test]
    fn only_100_continue_is_accepted() {
        let expect = |version, value| check_headers(version, &[("expect", value)]);
        for good in ["100-continue", "100-Continue"] {
            assert_eq!(expect(Version::HTTP_11, good), Ok(()));
        }
        for bad in ["200-ok", "", "100-continue, 200-ok"] {
            let refused = Err(HeadError::Expectation);
            assert_eq!(expect(Version::HTTP_11, bad), refused, "{bad:?}");
        }
        assert_eq!(expect(Version::HTTP_10, "200-ok"), Ok(()));
    }
}
