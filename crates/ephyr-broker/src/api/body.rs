//! Parsing of request bodies.

use http::StatusCode;
use serde::Deserialize;

use super::error::ApiError;

/// Parses a request's body.
///
/// # Errors
/// 400 if it is not the expected JSON object.
pub(super) fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, ApiError> {
    let bad = |why: &str| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            format!("the body: {why}"),
        )
    };
    // Derived parsers also accept an array of the members in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad("a JSON object is expected"));
    }
    serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))
}
