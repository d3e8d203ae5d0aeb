//! Where the broker is and who one is there: from flags, then from the environment.

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

/// The longest credential that is read from a file: a token's greatest length as text, and room.
const MAX_CREDENTIAL: usize = 16 * 1024;

/// What the environment says.
#[derive(Default)]
pub(crate) struct Environment {
    socket: Option<OsString>,
    url: Option<String>,
    token: Option<String>,
    api_key: Option<String>,
}

/// The way to the broker.
pub(crate) struct Endpoint {
    pub(crate) place: Place,
    /// The `Authorization` header, where there is one.
    pub(crate) authorization: Option<HeaderValue>,
    /// The credential, where it is a task token.
    pub(crate) token: Option<String>,
    /// The key that the token is, or is to be, bound to.
    pub(crate) holder: Option<Holder>,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Socket(PathBuf),
    Http(Authority),
}

impl Environment {
    pub(crate) fn read() -> Self {
        // As for a file: variables filled from files often keep the trailing line break.
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
    /// Flags go before the environment, and there a URL before a socket.
    ///
    /// # Errors
    /// A URL or a credential cannot be used.
    pub(crate) fn choose(flags: &Connection, environment: &Environment) -> Result<Self, Failure> {
        let place = if let Some(path) = &flags.socket {
            Place::Socket(path.clone())
        } else if let Some(url) = flags.url.as_deref().or(environment.url.as_deref()) {
            Place::Http(authority(url)?)
        } else if let Some(path) = &environment.socket {
            Place::Socket(path.into())
        } else if environment.api_key.is_some() {
            // A key is of use over HTTP only.
            Place::Http(authority(DEFAULT_URL)?)
        } else {
            Place::Socket(DEFAULT_SOCKET.into())
        };
        let credential = match (
            &flags.credential_file,
            &environment.token,
            &environment.api_key,
        ) {
            (Some(file), _, _) => Some(read_credential(file)?),
            (None, Some(token), _) => Some(token.clone()),
            // On the socket the user id says who one is; a key in the environment is for elsewhere.
            (None, None, Some(key)) if matches!(place, Place::Http(_)) => Some(key.clone()),
            (None, None, _) => None,
        };
        let authorization = credential.as_deref().map(bearer).transpose()?;
        let token = credential.filter(|text| text.starts_with(ephyr_token::TEXT_PREFIX));
        let holder = flags.holder_key.as_deref().map(Holder::read).transpose()?;
        Ok(Self {
            place,
            authorization,
            token,
            holder,
        })
    }

    /// The same place with another token.
    ///
    /// # Errors
    /// The token cannot stand in a header.
    pub(crate) fn with_token(self, token: String) -> Result<Self, Failure> {
        let authorization = Some(bearer(&token)?);
        Ok(Self {
            authorization,
            token: Some(token),
            ..self
        })
    }

    /// The proof that goes with a request, where the credential is a token and there is a key.
    ///
    /// # Errors
    /// The token is none.
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

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

fn authority(url: &str) -> Result<Authority, Failure> {
    let bad = |why: &str| Failure::usage(format!("the broker's URL {url:?} cannot be used: {why}"));
    let uri: Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(bad("the broker speaks plain HTTP on loopback; use http://")),
        _ => return Err(bad("it must begin with http://")),
    }
    if !matches!(uri.path(), "" | "/" | "/mcp" | "/mcp/") || uri.query().is_some() {
        return Err(bad("its path is /mcp or none"));
    }
    let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad("credentials do not belong into a URL"));
    }
    let host = authority.host();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if !is_loopback {
        return Err(bad(
            "a credential would cross the network unencrypted; bring the broker's port here with a \
             tunnel (ssh -L 8554:127.0.0.1:8554 …) and use http://127.0.0.1:8554",
        ));
    }
    Ok(authority.clone())
}

fn read_credential(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        let most = u64::try_from(MAX_CREDENTIAL).unwrap_or(u64::MAX);
        let mut text = String::new();
        let read = std::io::stdin().take(most).read_to_string(&mut text);
        read.map(|_| text)
    } else {
        read_regular_text(path, MAX_CREDENTIAL)
    };
    let text = read.map_err(|error| Failure::unreadable(path, &error))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::data(format!(
            "{} holds no credential",
            path.display()
        )));
    }
    Ok(text.to_owned())
}

fn bearer(credential: &str) -> Result<HeaderValue, Failure> {
    let what = if credential.starts_with("eph_") {
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
    let is_own = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if let Some(stray) = credential.chars().find(|c| !is_own(*c)) {
        let stray = match stray {
            '\n' | '\r' => "a line break",
            c if c.is_whitespace() => "white space",
            c if c.is_control() => "a control character",
            _ => "a character that is neither a letter, a digit, `_`, `-` nor `.`",
        };
        let text = format!("the {what} has {stray} inside; was more than the {what} copied?");
        return Err(Failure::data(text));
    }
    let mut value = HeaderValue::try_from(format!("Bearer {credential}"))
        .map_err(|_| Failure::data(format!("the {what} is not valid in an HTTP header")))?;
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

    fn place(flags: &Connection, environment: &Environment) -> String {
        Endpoint::choose(flags, environment)
            .unwrap()
            .place
            .to_string()
    }

    #[test]
    fn flags_go_before_the_environment_and_there_a_url_before_a_socket() {
        let all = environment(
            Some("/env.sock"),
            Some("http://127.0.0.1:1/mcp"),
            Some("eph_a_b"),
        );
        assert_eq!(place(&flags(Some("/flag.sock"), None), &all), "/flag.sock");
        assert_eq!(
            place(&flags(None, Some("http://[::1]:2")), &all),
            "http://[::1]:2"
        );
        assert_eq!(place(&flags(None, None), &all), "http://127.0.0.1:1");
        assert_eq!(
            place(
                &flags(None, None),
                &environment(Some("/env.sock"), None, None)
            ),
            "/env.sock"
        );
        assert_eq!(
            place(&flags(None, None), &Environment::default()),
            DEFAULT_SOCKET
        );
    }

    #[test]
    fn a_key_goes_over_http_and_never_to_the_socket() {
        let keyed = environment(None, None, Some("eph_a_b"));
        let chosen = Endpoint::choose(&flags(None, None), &keyed).unwrap();
        assert_eq!(chosen.place.to_string(), DEFAULT_URL);
        assert!(chosen.authorization.unwrap().is_sensitive());
        let socket = Endpoint::choose(&flags(Some("/s"), None), &keyed).unwrap();
        assert!(socket.authorization.is_none());
    }

    #[test]
    fn a_credential_never_leaves_the_machine_in_the_clear() {
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
    fn what_is_no_credential_is_not_sent() {
        assert!(bearer("hunter2").is_err());
        assert!(bearer("eph_a\r\nx: y").is_err());
        assert!(bearer("mac_AgAA").is_ok());
    }

    #[test]
    fn a_credential_with_stray_characters_is_told_what_they_are() {
        for (credential, said) in [
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
            assert!(error.contains(said) && !error.contains("secret"), "{error}");
        }
    }
}
