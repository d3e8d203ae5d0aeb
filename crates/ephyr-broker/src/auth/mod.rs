//! Who asks. Three answers count: the peer's UID on the Unix socket, an API key over TCP, and a task
//! token on either, whose task must be alive here. Nothing else names an agent.

mod keys;
mod throttle;
mod token;

use std::borrow::Cow;
use std::sync::Arc;

use ephyr_names::{AgentName, TaskId};
use ephyr_policy::Subject;
use ephyr_token::VerifiedToken;
use http::HeaderMap;
use http::header::AUTHORIZATION;

pub use keys::{KeyHash, KeyHashError, KeyRefused, Keys};
pub use throttle::Bucket;

use crate::broker::Broker;
use crate::clock;
use crate::http::Peer;

/// Who asks, as established for one request. Cheap to clone.
#[derive(Clone)]
pub struct Caller(Arc<Inner>);

struct Inner {
    subject: Subject,
    via: Via,
    token: Option<VerifiedToken>,
    standing: Standing,
    proof: Option<OwnProof>,
}

/// What a caller may do at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// What the decision path allows.
    Full,
    /// Its task must be bound first: nothing but `task_bind`, until the deadline.
    Locked,
    /// Its task has been bound since its token was made: nothing but `task_bind` with the same key, whose
    /// answer may have been lost.
    Superseded,
}

/// An `Ephyr-Proof` that came with an unbound token: by the key that is to be bound.
pub struct OwnProof {
    proof: ephyr_token::Proof,
    method: http::Method,
    path: String,
    body: ephyr_names::Digest,
}

/// How the caller was established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// By the UID of its process, over the Unix socket.
    Uid(u32),
    /// By its API key.
    Key,
    /// By a task token; over the Unix socket its UID fits as well.
    Token,
}

impl Via {
    /// A word for records and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uid(_) => "uid",
            Self::Key => "api_key",
            Self::Token => "token",
        }
    }

    /// What names the agent, in words for the caller.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Uid(_) => "your UID",
            Self::Key => "your API key",
            Self::Token => "your task token",
        }
    }
}

impl Caller {
    fn new(subject: Subject, via: Via, token: Option<VerifiedToken>, standing: Standing) -> Self {
        Self(Arc::new(Inner {
            subject,
            via,
            token,
            standing,
            proof: None,
        }))
    }

    fn with_proof(
        self,
        proof: Option<ephyr_token::Proof>,
        head: &http::request::Parts,
        body: &[u8],
    ) -> Self {
        let Some(proof) = proof else { return self };
        let mut caller = self;
        // A caller that was just established has one owner.
        if let Some(inner) = Arc::get_mut(&mut caller.0) {
            inner.proof = Some(OwnProof {
                proof,
                method: head.method.clone(),
                path: token::target(head).to_owned(),
                body: token::digest(body),
            });
        }
        caller
    }

    /// Agent, lineage and envelope.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// The agent that acts.
    #[must_use]
    pub fn agent(&self) -> &AgentName {
        &self.0.subject.agent
    }

    /// The task it acts in.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        self.0.subject.task()
    }

    /// The tasks it acts in, root first.
    pub fn lineage(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.0.subject.lineage.iter().map(|(task, _)| *task)
    }

    /// How it was established.
    #[must_use]
    pub fn via(&self) -> Via {
        self.0.via
    }

    /// What it may do at all.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.0.standing
    }

    /// Whether the request was made by whoever has this key, and is no repetition: what binding asks for.
    ///
    /// # Errors
    /// [`AuthError::Proof`] says what is missing.
    pub fn proves(
        &self,
        broker: &Broker,
        holder: &ephyr_token::HolderKey,
    ) -> Result<(), AuthError> {
        token::prove_new_holder(broker, self, self.0.proof.as_ref(), holder)
    }

    /// Its token.
    #[must_use]
    pub fn token(&self) -> Option<&VerifiedToken> {
        self.0.token.as_ref()
    }

    /// A text that is equal for the same agent in the same task and for nobody else.
    #[must_use]
    pub fn key(&self) -> Cow<'_, str> {
        match self.task() {
            // The task and not the token: a holder may narrow its token and go on with its session.
            Some(task) => Cow::Owned(format!("{}/{task}", self.agent())),
            None => Cow::Borrowed(self.agent().as_str()),
        }
    }
}

/// A request whose head was accepted. A bound token still needs its proof, which covers the body.
pub struct Admitted {
    caller: Caller,
    proof: Option<ephyr_token::Proof>,
}

/// Why nobody could be made out behind a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No credential where one is needed.
    #[error(
        "no credential: send `Authorization: Bearer` with an API key (eph_…) or a task token (mac_…)"
    )]
    Missing,
    /// A header that is neither.
    #[error("the Authorization header is not `Bearer eph_…` or `Bearer mac_…`")]
    Malformed,
    /// An API key or a token with an invalid character.
    #[error(
        "the {what} has {stray}; was it copied with quotes, or read from a file with a line break?"
    )]
    Stray {
        /// Which of the two it resembles.
        what: &'static str,
        /// The invalid characters, and where they are.
        stray: &'static str,
    },
    /// An API key on the Unix socket.
    #[error(
        "an API key is not used on the Unix socket: there your UID says who you are; leave the key out"
    )]
    KeyOnSocket,
    /// A UID that is no agent's.
    #[error("UID {0} is no agent of the policy; an operator adds it under agents.<name>.uid")]
    UnknownUid(u32),
    /// A wrong API key.
    #[error("the API key is not valid")]
    WrongKey,
    /// Too many keys are being tried.
    #[error("too many API keys are being tried; try again in {0} s")]
    Busy(u32),
    /// A token that does not verify, is over, or names nothing here.
    #[error("{message}")]
    Token {
        /// Why, for programs.
        code: &'static str,
        /// Why, for people.
        message: String,
    },
    /// A bound token without a good proof.
    #[error("{0}")]
    Proof(String),
}

impl AuthError {
    /// Why, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "credential_missing",
            Self::Malformed | Self::Stray { .. } => "credential_malformed",
            Self::KeyOnSocket => "key_on_socket",
            Self::UnknownUid(_) => "uid_unknown",
            Self::WrongKey => "key_invalid",
            Self::Busy(_) => "too_many_attempts",
            Self::Token { code, .. } => code,
            Self::Proof(_) => "proof_invalid",
        }
    }

    /// Whether it looks like someone who tries, and so is kept waiting.
    #[must_use]
    pub fn is_guess(&self) -> bool {
        match self {
            Self::WrongKey | Self::Busy(_) | Self::Malformed | Self::Stray { .. } => true,
            // A token with a good MAC that is merely over belongs to someone who held it rightly.
            Self::Token { code, .. } => !matches!(
                *code,
                "expired"
                    | "task_revoked"
                    | "task_unknown"
                    | "bind_deadline_over"
                    | "holder_required"
            ),
            Self::Missing | Self::KeyOnSocket | Self::UnknownUid(_) | Self::Proof(_) => false,
        }
    }

    fn token(code: &'static str, message: impl Into<String>) -> Self {
        Self::Token {
            code,
            message: message.into(),
        }
    }
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
            let subject = Subject::direct(agent.name.clone());
            Ok(Admitted {
                caller: Caller::new(subject, Via::Uid(uid), None, Standing::Full),
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
                caller: Caller::new(Subject::direct(agent), Via::Key, None, Standing::Full),
                proof: None,
            })
        }
    }
}

impl Admitted {
    /// The caller, once the body has been seen.
    ///
    /// # Errors
    /// [`AuthError::Proof`] where a bound token's proof does not cover this request.
    pub fn caller(
        self,
        broker: &Broker,
        head: &http::request::Parts,
        body: &[u8],
    ) -> Result<Caller, AuthError> {
        if self
            .caller
            .token()
            .is_some_and(|token| token.holder().is_none())
        {
            return Ok(self.caller.with_proof(self.proof, head, body));
        }
        token::prove(broker, &self.caller, self.proof.as_ref(), head, body)?;
        Ok(self.caller)
    }
}

/// The credential of an `Authorization` header.
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
    fn stray_characters_of_a_credential_are_told_and_never_repeated() {
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
    fn only_a_bearer_header_gives_a_credential() {
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
