//! Chooses the broker's address and the credential: from options, then from the environment.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ephyr_sandbox::read_regular_text;
use http::uri::Authority;
use http::{HeaderValue, Uri};

use crate::args::Connection;
use crate::failure::Failure;
use crate::holder::Holder;

const DEFAULT_SOCKET: &str = "/run/ephyr/broker.sock";
const DEFAULT_URL: &str = "http://127.0.0.1:8554";

/// The limit for the length of a credential file: more than the longest token.
const MAX_CREDENTIAL: usize = 16 * 1024;

/// The relevant environment variables.
#[derive(Default)]
pub(crate) struct Environment {
    socket: Option<OsString>,
    url: Option<String>,
    token: Option<String>,
    api_key: Option<String>,
}

/// The broker's address, and the caller's credential and key.
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    /// The `Authorization` header, if there is a credential.
    pub(crate) authorization: Option<HeaderValue>,
    /// The credential, if it is a task token.
    pub(crate) token: Option<String>,
    /// The key that the token is bound to, or will be bound to.
    pub(crate) holder: Option<Holder>,
}

/// The address that the broker listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Socket(PathBuf),
    Http(Authority),
}

impl Environment {
    pub(crate) fn read() -> Self {
        // Variables that are set from files often keep the trailing line break.
        let text = |name| {
            let value = std::env::var(name).ok()?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        Self {
            socket: std::env::var_os("EPHYR_SOCKET").filter(|value| !value.is_empty()),
            url: text("EPHYR_MCP_URL"),
            token: text("EPHYR_TOKEN"),
            api_key: text("EPHYR_API_KEY"),
        }
    }
}

impl Endpoint {
    /// Chooses the endpoint. Options take precedence over the environment; in the environment, a URL takes precedence
    /// over a socket.
    ///
    /// # Errors
    /// The URL, the credential or the key is invalid.
    pub(crate) fn choose(flags: &Connection, environment: &Environment) -> Result<Self, Failure> {
        let address = if let Some(path) = &flags.socket {
            Address::Socket(path.clone())
        } else if let Some(url) = flags.url.as_deref().or(environment.url.as_deref()) {
            Address::Http(authority(url)?)
        } else if let Some(path) = &environment.socket {
            Address::Socket(path.into())
        } else if environment.api_key.is_some() {
            // An API key is accepted only over HTTP.
            Address::Http(authority(DEFAULT_URL)?)
        } else {
            Address::Socket(DEFAULT_SOCKET.into())
        };
        let credential = match (
            &flags.credential_file,
            &environment.token,
            &environment.api_key,
        ) {
            (Some(file), _, _) => Some(read_credential(file)?),
            (None, Some(token), _) => Some(token.clone()),
            // The socket identifies the caller by user id and refuses API keys: one in the environment is for
            // another broker.
            (None, None, Some(key)) if matches!(address, Address::Http(_)) => Some(key.clone()),
            (None, None, _) => None,
        };
        let authorization = credential.as_deref().map(bearer).transpose()?;
        let token = credential.filter(|text| text.starts_with(ephyr_token::TEXT_PREFIX));
        let holder = flags.holder_key.as_deref().map(Holder::read).transpose()?;
        Ok(Self {
            address,
            authorization,
            token,
            holder,
        })
    }

    /// Returns the same endpoint with another token.
    ///
    /// # Errors
    /// The token is not valid in a header.
    pub(crate) fn with_token(self, token: String) -> Result<Self, Failure> {
        let authorization = Some(bearer(&token)?);
        Ok(Self {
            authorization,
            token: Some(token),
            ..self
        })
    }

    /// Returns the proof for a request, if the credential is a token and there is a key.
    ///
    /// # Errors
    /// The token is malformed.
    pub(crate) fn proof(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Option<HeaderValue>, Failure> {
        match (&self.holder, &self.token) {
            (Some(holder), Some(token)) => holder.prove(token, method, path, body).map(Some),
            _ => Ok(None),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

fn authority(url: &str) -> Result<Authority, Failure> {
    let bad = |why: &str| Failure::usage(format!("the broker's URL {url:?} is invalid: {why}"));
    let uri: Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(bad("the broker serves plain HTTP on loopback; use http://")),
        _ => return Err(bad("it must begin with http://")),
    }
    if !matches!(uri.path(), "" | "/" | "/mcp" | "/mcp/") || uri.query().is_some() {
        return Err(bad("its path must be /mcp or empty"));
    }
    let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad("it must not contain a credential"));
    }
    let host = authority.host();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if !is_loopback {
        return Err(bad(
            "the credential would cross the network unencrypted; forward the broker's port \
             (ssh -L 8554:127.0.0.1:8554 …) and use http://127.0.0.1:8554",
        ));
    }
    Ok(authority.clone())
}

fn read_credential(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        let limit = u64::try_from(MAX_CREDENTIAL).unwrap_or(u64::MAX);
        let mut text = String::new();
        let read = std::io::stdin().take(limit).read_to_string(&mut text);
        read.map(|_| text)
    } else {
        read_regular_text(path, MAX_CREDENTIAL)
    };
    let text = read.map_err(|error| Failure::unreadable(path, &error))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::data(format!(
            "{} contains no credential",
            path.display()
        )));
    }
    Ok(text.to_owned())
}

fn bearer(credential: &str) -> Result<HeaderValue, Failure> {
    let kind = if credential.starts_with("eph_") {
        "API key"
    } else if credential.starts_with(ephyr_token::TEXT_PREFIX) {
        "task token"
    } else {
        let hint = if credential.starts_with(['"', '\'']) {
            "; it is in quotes: remove them"
        } else {
            ""
        };
        return Err(Failure::data(format!(
            "the credential is neither an API key (eph_…) nor a task token (mac_…){hint}"
        )));
    };
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if let Some(stray) = credential.chars().find(|c| !is_valid(*c)) {
        let stray = match stray {
            '\n' | '\r' => "a line break",
            c if c.is_whitespace() => "white space",
            c if c.is_control() => "a control character",
            _ => "a character that is neither a letter, a digit, `_`, `-` nor `.`",
        };
        let text = format!("the {kind} has {stray} inside; was more than the {kind} copied?");
        return Err(Failure::data(text));
    }
    let mut value = HeaderValue::try_from(format!("Bearer {credential}"))
        .map_err(|_| Failure::data(format!("the {kind} is not valid in an HTTP header")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(socket: Option<&str>, url: Option<&str>) -> Connection {
        Connection {
            socket: socket.map(PathBuf::from),
            url: url.map(str::to_owned),
            credential_file: None,
            holder_key: None,
        }
    }

    fn environment(socket: Option<&str>, url: Option<&str>, key: Option<&str>) -> Environment {
        Environment {
            socket: socket.map(OsString::from),
            url: url.map(str::to_owned),
            token: None,
            api_key: key.map(str::to_owned),
        }
    }

    fn address(flags: &Connection, environment: &Environment) -> String {
        Endpoint::choose(flags, environment)
            .unwrap()
            .address
            .to_string()
    }

    #[test]
    fn options_precede_the_environment_and_urls_precede_sockets() {
        let all = environment(
            Some("/env.sock"),
            Some("http://127.0.0.1:1/mcp"),
            Some("eph_a_b"),
        );
        assert_eq!(
            address(&flags(Some("/flag.sock"), None), &all),
            "/flag.sock"
        );
        assert_eq!(
            address(&flags(None, Some("http://[::1]:2")), &all),
            "http://[::1]:2"
        );
        assert_eq!(address(&flags(None, None), &all), "http://127.0.0.1:1");
        assert_eq!(
            address(
                &flags(None, None),
                &environment(Some("/env.sock"), None, None)
            ),
            "/env.sock"
        );
        assert_eq!(
            address(&flags(None, None), &Environment::default()),
            DEFAULT_SOCKET
        );
    }

    #[test]
    fn api_key_is_sent_over_http_and_never_to_the_socket() {
        let keyed = environment(None, None, Some("eph_a_b"));
        let chosen = Endpoint::choose(&flags(None, None), &keyed).unwrap();
        assert_eq!(chosen.address.to_string(), DEFAULT_URL);
        assert!(chosen.authorization.unwrap().is_sensitive());
        let socket = Endpoint::choose(&flags(Some("/s"), None), &keyed).unwrap();
        assert!(socket.authorization.is_none());
    }

    #[test]
    fn only_plain_http_urls_on_loopback_are_accepted() {
        for url in [
            "http://192.0.2.1:8554",
            "http://broker.example",
            "https://127.0.0.1",
            "ftp://[::1]",
            "http://a:b@127.0.0.1",
            "http://127.0.0.1/other",
            "http://127.0.0.1/mcp?key=eph_a_b",
            "http://localhost.example",
            "http://127.0.0.1.example:8554",
            "http://[::ffff:192.0.2.1]",
            "127.0.0.1:8554",
        ] {
            assert!(authority(url).is_err(), "{url}");
        }
        assert!(authority("http://localhost:8554/mcp").is_ok());
    }

    #[test]
    fn invalid_credential_is_not_sent() {
        assert!(bearer("hunter2").is_err());
        assert!(bearer("eph_a\r\nx: y").is_err());
        assert!(bearer("mac_AgAA").is_ok());
    }

    #[test]
    fn stray_characters_in_a_credential_are_named_in_the_error() {
        for (credential, cause) in [
            (
                "eph_a_secret\neph_b_secret",
                "the API key has a line break inside",
            ),
            ("mac_secret secret", "the task token has white space inside"),
            (
                "eph_a_secret\u{7}",
                "the API key has a control character inside",
            ),
            ("\"eph_a_secret\"", "it is in quotes"),
        ] {
            let error = bearer(credential).unwrap_err().to_string();
            assert!(
                error.contains(cause) && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
