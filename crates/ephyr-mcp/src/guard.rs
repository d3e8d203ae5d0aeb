//! Checks of a request's head before authentication: host, origin, method and media types. A rejection
//! here costs neither a key verification nor reading the body.

use http::header::{ALLOW, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::body::Body;
use crate::cors;
use crate::error::RpcError;
use crate::headers::{Accepted, accepted, is_json};
use crate::origin::Origin;
use crate::reply;
use crate::version::Version;

/// The names that a listener accepts in `Host`. They prevent DNS rebinding, where an attacker's page
/// resolves its own name to this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Any name: for Unix sockets, which browsers cannot open.
    Any,
    /// `localhost`, `127.0.0.1` and `[::1]`, with any port.
    Loopback,
    /// These names, in lower case and without port; IPv6 addresses in brackets.
    Only(Vec<String>),
}

/// The hosts and origins that a listener accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The accepted names.
    pub hosts: Hosts,
    /// The web origins that may call, besides a loopback listener's own. A request without an `Origin` is
    /// not from a web page and is allowed.
    pub origins: Vec<Origin>,
}

/// Why a request's `Host` or `Origin` is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The listener does not answer to this name.
    #[error("this server does not answer to the name in the Host header")]
    Host,
    /// Pages of this origin may not call.
    #[error("web pages of this origin may not call this server")]
    Origin,
}

impl Guard {
    /// Returns the guard of a Unix socket: any host, no web page.
    #[must_use]
    pub fn unix_socket() -> Self {
        Self {
            hosts: Hosts::Any,
            origins: Vec::new(),
        }
    }

    /// Returns the guard of a loopback port: loopback names, no web page.
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
    /// The reply to send instead of serving it: 403, 405, 406 or 415, or 204 to a browser's preflight.
    /// [`Server::handle`] repeats these checks; calling this first avoids authenticating a request that
    /// will be refused.
    ///
    /// [`Server::handle`]: crate::Server::handle
    pub fn check(&self, parts: &Parts) -> Result<(), Box<Response<Body>>> {
        self.accepted(parts).map(drop)
    }

    /// Checks only the `Host` and `Origin` headers, which applies to every path of the listener.
    ///
    /// # Errors
    /// [`SourceError`] says which of the two is refused; the status is 403.
    pub fn check_source(&self, parts: &Parts) -> Result<(), SourceError> {
        if !self.knows_host(parts) {
            return Err(SourceError::Host);
        }
        if !self.trusts_origin(parts) {
            return Err(SourceError::Origin);
        }
        Ok(())
    }

    /// Returns the response to a browser's preflight; `None` if the request is not a preflight of an
    /// allowed origin.
    #[must_use]
    pub fn preflight(&self, parts: &Parts) -> Option<Response<Body>> {
        self.allowed_origin(parts)?;
        cors::preflight(parts)
    }

    /// Returns the request's web origin, if its pages may call.
    #[must_use]
    pub fn allowed_origin(&self, parts: &Parts) -> Option<HeaderValue> {
        let origin = parts.headers.get(ORIGIN)?;
        self.check_source(parts).ok().map(|()| origin.clone())
    }

    /// Adds the headers that let pages of `origin` read a response. Call this for every response,
    /// refusals included, with the [`allowed_origin`](Self::allowed_origin) of its request.
    pub fn expose(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        // Browsers cannot open Unix sockets.
        if self.hosts != Hosts::Any {
            cors::expose(origin, headers);
        }
    }

    pub(crate) fn accepted(&self, parts: &Parts) -> Result<Accepted, Box<Response<Body>>> {
        if let Err(error) = self.check_source(parts) {
            return Err(refuse(StatusCode::FORBIDDEN, &error.to_string()));
        }
        if let Some(response) = self.preflight(parts) {
            return Err(Box::new(response));
        }
        if parts.method != Method::POST {
            let mut response = refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "send messages with POST; GET streams and session termination are not supported",
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
            let listed = |known: &Origin| origin.eq_ignore_ascii_case(known.as_str().as_bytes());
            self.origins.iter().any(listed) || self.is_own(origin, parts)
        })
    }

    /// Returns whether an origin is the loopback listener's own, that of the request's URL. `Host` was checked
    /// before, so a name rebound to this machine (DNS rebinding) is not accepted.
    fn is_own(&self, origin: &[u8], parts: &Parts) -> bool {
        const SCHEME: &[u8] = b"http://";
        let Some((scheme, authority)) = origin.split_at_checked(SCHEME.len()) else {
            return false;
        };
        self.hosts == Hosts::Loopback
            && scheme.eq_ignore_ascii_case(SCHEME)
            && parts
                .headers
                .get(HOST)
                .is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority))
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

/// Returns an authority without its port, or an empty text if the port is malformed.
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
    fn loopback_listener_accepts_only_loopback_names() {
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
    fn web_page_is_accepted_only_from_a_listed_origin() {
        let guard = Guard {
            origins: vec!["https://console.example".parse().unwrap()],
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
    fn loopback_listener_accepts_the_origin_of_its_host() {
        let from = |guard: &Guard, host: &'static str, origin: &'static str| {
            status(guard, |parts| {
                parts.headers.insert(HOST, HeaderValue::from_static(host));
                let origin = HeaderValue::from_static(origin);
                parts.headers.insert(ORIGIN, origin);
            })
        };
        let guard = Guard::loopback();
        for host in [
            "localhost:8554",
            "127.0.0.1:8554",
            "[::1]:8554",
            "localhost",
        ] {
            let own = format!("http://{host}").leak();
            assert_eq!(from(&guard, host, own), 200, "{host}");
        }
        for (host, origin) in [
            ("localhost:8554", "http://127.0.0.1:8554"),
            ("localhost:8554", "http://localhost:3000"),
            ("localhost:8554", "http://localhost"),
            ("localhost:8554", "https://localhost:8554"),
            ("localhost:8554", "http://"),
            ("evil.example:8554", "http://evil.example:8554"),
            ("evil.example:8554", "http://localhost:8554"),
            ("localhost:8554", "http://evil.example:8554"),
        ] {
            assert_eq!(from(&guard, host, origin), 403, "{host} {origin}");
        }
        let socket = Guard::unix_socket();
        let own = from(&socket, "localhost", "http://localhost");
        assert_eq!(own, 403, "browsers cannot open Unix sockets");
    }

    fn preflight(
        guard: &Guard,
        origin: &'static str,
        asks: &[(&'static str, &'static str)],
    ) -> Response<Body> {
        let mut request = Request::options("/mcp")
            .header(HOST, "localhost:8554")
            .header(ORIGIN, origin);
        for (name, value) in asks {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut response = *guard.check(&parts).unwrap_err();
        guard.expose(guard.allowed_origin(&parts), response.headers_mut());
        response
    }

    #[test]
    fn preflight_is_answered_only_for_an_allowed_origin() {
        let guard = Guard {
            origins: vec!["https://console.example".parse().unwrap()],
            ..Guard::loopback()
        };
        let asks = [
            ("access-control-request-method", "POST"),
            ("access-control-request-private-network", "true"),
        ];
        let good = preflight(&guard, "https://console.example", &asks);
        assert_eq!(good.status(), StatusCode::NO_CONTENT);
        let header = |name: &str| good.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(
            header("access-control-allow-origin"),
            "https://console.example"
        );
        assert_eq!(header("access-control-allow-private-network"), "true");
        assert_eq!(header("vary"), "Origin");
        let allowed = header("access-control-allow-headers");
        for name in ["authorization", "content-type", "mcp-name", "ephyr-proof"] {
            assert!(allowed.split(", ").any(|known| known == name), "{name}");
        }
        assert!(
            !good
                .headers()
                .contains_key("access-control-allow-credentials")
        );

        let evil = preflight(&guard, "https://evil.example", &asks);
        assert_eq!(evil.status(), StatusCode::FORBIDDEN);
        let shown = evil
            .headers()
            .keys()
            .any(|name| name.as_str().starts_with("access-control"));
        assert!(!shown, "{:?}", evil.headers());

        let no_preflight = preflight(&guard, "https://console.example", &[]);
        assert_eq!(no_preflight.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn method_and_media_type_errors_have_their_own_status() {
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
