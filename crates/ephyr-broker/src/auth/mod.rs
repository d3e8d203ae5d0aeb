//! Authentication by the peer's UID on the Unix socket, an API key over TCP, or the token of a live task on either.

mod error;
pub mod keys;
mod token;

use ephyr_core::caller::{AgentCaller, UnboundProof};
use ephyr_http::Peer;
use ephyr_names::AgentName;
use http::HeaderMap;
use http::header::AUTHORIZATION;

pub use error::AuthError;
pub use token::prove_new_holder;

use self::keys::KeyRefused;
use crate::broker::Broker;
use crate::clock;

/// A request whose head was accepted. A bound token still needs its proof, which covers the body.
pub struct Admitted {
    caller: AgentCaller,
    proof: Option<ephyr_token::Proof>,
}

/// Establishes the caller from the request's head.
///
/// # Errors
/// [`AuthError`].
pub async fn admit(
    broker: &Broker,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<Admitted, AuthError> {
    let credential = match headers.get(AUTHORIZATION) {
        None => None,
        Some(value) => Some(credential(value.as_bytes())?),
    };
    match (peer, credential) {
        (_, Some(text)) if text.starts_with(ephyr_token::TEXT_PREFIX) => {
            token::admit(broker, peer, text, headers)
        }
        (Peer::Uid(uid), None) => {
            let policy = broker.policy();
            let agent = policy.agent_by_uid(uid).ok_or(AuthError::UnknownUid(uid))?;
            let caller = AgentCaller::by_uid(agent.name.clone(), uid);
            Ok(Admitted {
                caller,
                proof: None,
            })
        }
        (Peer::Uid(_), Some(_)) => Err(AuthError::KeyOnSocket),
        (Peer::Ip(_), None) => Err(AuthError::Missing),
        (Peer::Ip(_), Some(key)) => {
            let hash_of = |agent: &AgentName| broker.policy().key_hash(agent);
            let agent = broker.keys().check(key, clock::now(), hash_of).await;
            let agent = agent.map_err(|refused| match refused {
                KeyRefused::Wrong => AuthError::WrongKey,
                KeyRefused::Busy(seconds) => AuthError::Busy(seconds),
            })?;
            Ok(Admitted {
                caller: AgentCaller::by_key(agent),
                proof: None,
            })
        }
    }
}

impl Admitted {
    /// Returns the caller; verifies a bound token's proof, which covers the body.
    ///
    /// # Errors
    /// [`AuthError::Proof`]: a bound token's proof does not cover this request.
    pub fn caller(
        self,
        broker: &Broker,
        head: &http::request::Parts,
        body: &[u8],
    ) -> Result<AgentCaller, AuthError> {
        let Self { caller, proof } = self;
        let is_unbound = caller.token().is_some_and(|token| token.holder().is_none());
        match proof {
            // Made with the key to be bound, which only the arguments of task_bind name; verified then.
            Some(proof) if is_unbound => Ok(caller.with_proof(UnboundProof {
                proof,
                method: head.method.as_str().to_owned(),
                path: token::target(head).to_owned(),
                body: token::digest(body),
            })),
            None if is_unbound => Ok(caller),
            proof => {
                token::prove(broker, &caller, proof.as_ref(), head, body)?;
                Ok(caller)
            }
        }
    }
}

/// Returns the credential in an `Authorization` header.
fn credential(value: &[u8]) -> Result<&str, AuthError> {
    let text = bearer(value).ok_or(AuthError::Malformed)?;
    match stray(text) {
        None => Ok(text),
        Some(stray) => Err(stray),
    }
}

/// Checks an otherwise valid API key or token for stray characters from quoting or from the end of a file. The error
/// never contains any part of the credential.
fn stray(text: &str) -> Option<AuthError> {
    // Line breaks in a form that headers can carry: escaped or percent-encoded.
    const BREAKS: [&str; 4] = ["\\n", "\\r", "%0A", "%0D"];
    let bare = text.trim_start_matches(['"', '\'']);
    let what = if bare.starts_with("eph_") {
        "API key"
    } else if bare.starts_with(ephyr_token::TEXT_PREFIX) {
        "task token"
    } else {
        return None;
    };
    let is_own = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let first = text.find(|c| !is_own(c))?;
    let from_there = &text[first..];
    let is_break = BREAKS.iter().any(|mark| from_there.starts_with(mark));
    let stray = if bare.len() < text.len() {
        "quotes around it"
    } else if is_break {
        "an escaped line break (such as \\n)"
    } else if from_there.trim_start().is_empty() {
        "white space at its end"
    } else if from_there.starts_with(char::is_whitespace) {
        "white space inside"
    } else {
        "a character inside that is neither a letter, a digit, `_`, `-` nor `.`"
    };
    Some(AuthError::Stray { what, stray })
}

/// Returns the text after `Bearer` (RFC 6750; the scheme is case-insensitive).
fn bearer(value: &[u8]) -> Option<&str> {
    let (scheme, credential) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let credential = credential.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}

#[cfg(test)]
mod tests {
    use super::{AuthError, bearer, credential};

    #[test]
    fn stray_characters_are_reported_without_the_credential() {
        const SECRET: &str = "0123456789abcdefghijklmnop";
        for (text, what, stray) in [
            ("eph_a_@\u{a0}", "API key", "white space at its end"),
            ("eph_a_@\t", "API key", "white space at its end"),
            ("eph_a_@ x", "API key", "white space inside"),
            ("eph_a_@\\n", "API key", "an escaped line break"),
            ("mac_@%0A", "task token", "an escaped line break"),
            ("\"eph_a_@\"", "API key", "quotes around it"),
            ("mac_@=", "task token", "a character inside"),
        ] {
            let value = format!("Bearer {}", text.replace('@', SECRET));
            let error = credential(value.as_bytes()).unwrap_err();
            assert_eq!(error.code(), "credential_malformed");
            let said = error.to_string();
            assert!(
                said.starts_with(&format!("the {what} has {stray}")),
                "{said}"
            );
            assert!(!said.contains(SECRET), "{said}");
        }
        for good in ["eph_a.b-c_0123", "mac_AgAA-_", "something else"] {
            let value = format!("Bearer {good}");
            assert_eq!(credential(value.as_bytes()), Ok(good));
        }
        assert_eq!(credential(b"Basic abc"), Err(AuthError::Malformed));
    }

    #[test]
    fn only_bearer_headers_give_a_credential() {
        assert_eq!(bearer(b"Bearer abc"), Some("abc"));
        assert_eq!(bearer(b"bearer  abc"), Some("abc"));
        for bad in [
            &b"Basic abc"[..],
            b"Bearer",
            b"Bearer ",
            b"",
            b"Bearer \xff",
        ] {
            assert_eq!(bearer(bad), None);
        }
    }
}
