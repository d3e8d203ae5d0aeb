//! Errors of the API.

use std::borrow::Cow;

use ephyr_api::v1::ApiProblem;
use ephyr_policy::Denial;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};

use crate::certificate::CertificateError;
use crate::response::{Body, json};
use crate::tools::denial_details;

/// An error response of the API.
#[derive(Debug)]
pub struct ApiError(Box<Problem>);

#[derive(Debug)]
struct Problem {
    status: StatusCode,
    error: String,
    code: String,
    retry_after_seconds: Option<u32>,
    denial: Option<Denial>,
}

impl ApiError {
    /// Returns an error without retry time.
    #[must_use]
    pub fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        let (error, code) = (message.into(), code.into());
        Self(Box::new(Problem {
            status,
            error,
            code,
            retry_after_seconds: None,
            denial: None,
        }))
    }

    /// Returns the error for an unknown path.
    #[must_use]
    pub fn not_found() -> Self {
        let message = "there is nothing at this path; MCP is at /mcp, and the API of the Unix socket at \
                       /v1/health, whoami, session, targets, certs and request";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Sets the number of seconds after which to retry.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// Converts the error into an HTTP response.
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let problem = &self.0;
        let body = ApiProblem {
            error: Cow::Borrowed(&problem.error),
            code: Cow::Borrowed(&problem.code),
            retry_after_seconds: problem.retry_after_seconds,
            denial: problem.denial.as_ref().map(denial_details),
        };
        let mut response = json(problem.status, &body);
        if let Some(seconds) = problem.retry_after_seconds {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        let mut error = Self::new(
            StatusCode::FORBIDDEN,
            denial.reason.as_str(),
            denial.message.clone(),
        );
        error.0.denial = Some(denial);
        error
    }
}

impl From<CertificateError> for ApiError {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::Denied(denial) => denial.into(),
            error => Self::new(status(&error), error.code(), error.to_string()),
        }
    }
}

fn status(error: &CertificateError) -> StatusCode {
    match error {
        CertificateError::Audit(_) | CertificateError::State(_) | CertificateError::Signer(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        CertificateError::Denied(_) | CertificateError::Revoked { .. } => StatusCode::FORBIDDEN,
        CertificateError::PublicKey => StatusCode::BAD_REQUEST,
        CertificateError::Withheld { cause, .. } => status(cause),
    }
}
