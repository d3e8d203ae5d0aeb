//! The bodies of requests.

use http::StatusCode;
use serde::Deserialize;

use super::error::ApiError;

/// Reads a request's body.
///
/// # Errors
/// 400 if it is not the JSON object that is expected.
pub(super) fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, ApiError> {
    let bad = |why: &str| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            format!("the body: {why}"),
        )
    };
    // Derived parsers would take a list for the members in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad("a JSON object is expected"));
    }
    serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))
}
