//! The API's routes, by method and path.

use ephyr_audit::ActionKind;
use http::request::Parts;
use http::{Method, StatusCode};

use super::error::ApiError;
use crate::reads::ReadKind;

/// A route of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `GET /v1/whoami`.
    WhoAmI,
    /// `POST /v1/session`.
    OpenSession,
    /// `GET /v1/session`.
    Session,
    /// `GET /v1/targets`.
    Targets,
    /// `GET /v1/certs`.
    Certs,
    /// `POST /v1/request`.
    Request,
}

impl Route {
    /// Returns the route of a request.
    ///
    /// # Errors
    /// 404 for an unknown path, 405 for a wrong method.
    pub fn of(head: &Parts) -> Result<Self, ApiError> {
        let (method, path) = (&head.method, head.uri.path());
        let allowed = |routes: &[(Method, Self)]| {
            let found = routes.iter().find(|(known, _)| known == method);
            found.map(|(_, route)| *route).ok_or_else(|| {
                let known: Vec<_> = routes.iter().map(|(known, _)| known.as_str()).collect();
                let message = format!("{path} takes {}", known.join(" and "));
                ApiError::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    message,
                )
            })
        };
        match path {
            "/v1/health" => {
                let message = "/v1/health takes GET";
                Err(ApiError::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    message,
                ))
            }
            "/v1/whoami" => allowed(&[(Method::GET, Self::WhoAmI)]),
            "/v1/session" => allowed(&[
                (Method::POST, Self::OpenSession),
                (Method::GET, Self::Session),
            ]),
            "/v1/targets" => allowed(&[(Method::GET, Self::Targets)]),
            "/v1/certs" => allowed(&[(Method::GET, Self::Certs)]),
            "/v1/request" => allowed(&[(Method::POST, Self::Request)]),
            _ => Err(ApiError::not_found()),
        }
    }
}

impl Route {
    /// Returns the read to record, if the route only reads.
    pub(super) fn as_read(self) -> Option<ReadKind> {
        let name = match self {
            Self::WhoAmI => "/v1/whoami",
            Self::Targets => "/v1/targets",
            Self::Certs => "/v1/certs",
            Self::OpenSession | Self::Session | Self::Request => return None,
        };
        Some(ReadKind {
            kind: ActionKind::Api,
            name,
        })
    }
}
