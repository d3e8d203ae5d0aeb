//! What can be said about a request from its head alone, before anybody asks who sent it: method,
//! origin, host, media types. Refusing here costs neither a password check nor a body.

use http::header::{ALLOW, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use crate::body::Body;
use crate::error::RpcError;
use crate::headers::{Accepted, accepted, is_json};
use crate::reply;
use crate::version::Version;

/// The names under which a listener answers: against DNS rebinding, where a web page's own name is
/// made to point at this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Any: for Unix sockets, which no browser can open.
    Any,
    /// `localhost`, `127.0.0.1` and `[::1]`, with any port.
    Loopback,
    /// These names, in lower case and without port. An IPv6 address stands in brackets.
    Only(Vec<String>),
}

/// What a listener takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The names it answers to.
    pub hosts: Hosts,
    /// The web origins that may call it (`https://console.example`), in lower case. A request without
    /// an `Origin` does not come from a web page and passes.
    pub origins: Vec<String>,
}

impl Guard {
    /// For a Unix socket: any host, no web page.
    #[must_use]
    pub fn unix_socket() -> Self {
        Self {
            hosts: Hosts::Any,
            origins: Vec::new(),
        }
    }

    /// For a loopback port: loopback names, no web page.
    #[must_use]
    pub fn loopback() -> Self {
        Self {
            hosts: Hosts::Loopback,
            origins: Vec::new(),
        }
    }

    /// Checks a request's head.
    ///
    /// # Errors
    /// The reply to send instead of serving it: 403, 405, 406 or 415. [`Server::handle`] checks the
    /// same again; a program that calls this before it authenticates spares itself that work.
    ///
    /// [`Server::handle`]: crate::Server::handle
    pub fn check(&self, parts: &Parts) -> Result<(), Box<Response<Body>>> {
        self.accepted(parts).map(drop)
    }

    pub(crate) fn accepted(&self, parts: &Parts) -> Result<Accepted, Box<Response<Body>>> {
        if !self.knows_host(parts) {
            return Err(refuse(
                StatusCode::FORBIDDEN,
                "this server does not answer to the name in the Host header",
            ));
        }
        if !self.trusts_origin(parts) {
            return Err(refuse(
                StatusCode::FORBIDDEN,
                "web pages of this origin may not call this server",
            ));
        }
        if parts.method != Method::POST {
            let mut response = refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "send messages by POST; there is no stream to open and no session to end",
            );
            let allow = HeaderValue::from_static("POST");
            response.headers_mut().insert(ALLOW, allow);
            return Err(response);
        }
        if !is_json(&parts.headers) {
            return Err(refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the Content-Type must be application/json",
            ));
        }
        let accepted = accepted(&parts.headers);
        if !accepted.json && !accepted.events {
            return Err(refuse(
                StatusCode::NOT_ACCEPTABLE,
                "the Accept header must allow application/json or text/event-stream",
            ));
        }
        Ok(accepted)
    }

    fn knows_host(&self, parts: &Parts) -> bool {
        if self.hosts == Hosts::Any {
            return true;
        }
        let mut named = parts.headers.get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return false;
        };
        let knows = |host: &str| self.hosts.contains(host_name(host));
        host.to_str().is_ok_and(knows) && parts.uri.authority().is_none_or(|a| knows(a.as_str()))
    }

    fn trusts_origin(&self, parts: &Parts) -> bool {
        parts.headers.get_all(ORIGIN).iter().all(|origin| {
            let origin = origin.as_bytes();
            self.origins
                .iter()
                .any(|known| origin.eq_ignore_ascii_case(known.as_bytes()))
        })
    }
}

impl Hosts {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => ["localhost", "127.0.0.1", "[::1]"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known)),
            Self::Only(names) => names.iter().any(|known| name.eq_ignore_ascii_case(known)),
        }
    }
}

/// An authority without its port.
fn host_name(authority: &str) -> &str {
    let end = match authority.starts_with('[') {
        true => authority.find(']').map(|at| at + 1),
        false => authority.find(':'),
    };
    let (name, port) = authority.split_at(end.unwrap_or(authority.len()));
    let is_port = port.is_empty()
        || (port.starts_with(':') && port[1..].bytes().all(|byte| byte.is_ascii_digit()));
    if is_port { name } else { "" }
}

fn refuse(status: StatusCode, message: &str) -> Box<Response<Body>> {
    let error = RpcError::invalid_request(message).with_status(status);
    Box::new(reply::error(Version::LATEST_LEGACY, None, &error))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::{ACCEPT, CONTENT_TYPE};

    use super::*;

    fn status(guard: &Guard, change: impl FnOnce(&mut Parts)) -> u16 {
        let (mut parts, ()) = Request::post("/mcp")
            .header(HOST, "localhost:8554")
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(())
            .unwrap()
            .into_parts();
        change(&mut parts);
        match guard.accepted(&parts) {
            Ok(_) => 200,
            Err(response) => response.status().as_u16(),
        }
    }

    fn with_host(guard: &Guard, host: &'static str) -> u16 {
        status(guard, |parts| {
            parts.headers.insert(HOST, HeaderValue::from_static(host));
        })
    }

    #[test]
    fn a_loopback_listener_answers_to_loopback_names_alone() {
        let guard = Guard::loopback();
        for good in ["localhost", "127.0.0.1:8554", "[::1]:8554", "LOCALHOST:1"] {
            assert_eq!(with_host(&guard, good), 200, "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8554",
            "localhost:80@evil.example",
            "[::1].evil.example",
            "",
        ] {
            assert_eq!(with_host(&guard, bad), 403, "{bad}");
        }
        assert_eq!(
            status(&guard, |parts| drop(parts.headers.remove(HOST))),
            403
        );
        let absolute = status(&guard, |parts| {
            parts.uri = "http://evil.example/mcp".parse().unwrap();
        });
        assert_eq!(absolute, 403);
        assert_eq!(with_host(&Guard::unix_socket(), "evil.example"), 200);
    }

    #[test]
    fn a_web_page_is_served_only_if_its_origin_is_listed() {
        let guard = Guard {
            origins: vec!["https://console.example".to_owned()],
            ..Guard::loopback()
        };
        let with_origin = |origin: &'static str| {
            status(&guard, |parts| {
                let origin = HeaderValue::from_static(origin);
                parts.headers.insert(ORIGIN, origin);
            })
        };
        assert_eq!(with_origin("https://console.example"), 200);
        for bad in [
            "https://evil.example",
            "null",
            "http://console.example",
            "http://localhost",
        ] {
            assert_eq!(with_origin(bad), 403, "{bad}");
        }
    }

    #[test]
    fn method_and_media_types_have_a_status_each() {
        let guard = Guard::loopback();
        for method in [Method::GET, Method::DELETE, Method::PUT] {
            assert_eq!(status(&guard, |parts| parts.method = method), 405);
        }
        let text = HeaderValue::from_static("text/plain");
        let content = |parts: &mut Parts| drop(parts.headers.insert(CONTENT_TYPE, text));
        assert_eq!(status(&guard, content), 415);
        let html = HeaderValue::from_static("text/html");
        let accept = |parts: &mut Parts| drop(parts.headers.insert(ACCEPT, html));
        assert_eq!(status(&guard, accept), 406);
    }
}
