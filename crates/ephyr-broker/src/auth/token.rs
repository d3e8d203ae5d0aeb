//! Task tokens: from a text to a caller. A good MAC is not enough: the task must be known here, with the
//! same holder, and nothing above it revoked.

use ephyr_names::AgentName;
use ephyr_policy::Subject;
use ephyr_token::{HolderKey, Proof, ProofRequest, UnverifiedToken, VerifiedToken, proof};
use http::HeaderMap;
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::{Admitted, AuthError, Caller, OwnProof, Standing, Via};
use crate::broker::Broker;
use crate::clock;
use crate::http::Peer;

/// Establishes the caller of a request with a token.
pub(super) fn admit(
    broker: &Broker,
    peer: Peer,
    text: &str,
    headers: &HeaderMap,
) -> Result<Admitted, AuthError> {
    let (token, standing) = verify(broker, text)?;
    let policy = broker.policy();
    let agent = policy.agent(token.agent()).ok_or_else(|| {
        AuthError::token(
            "agent_unknown",
            "the policy no longer knows the agent that this token is for",
        )
    })?;
    match peer {
        Peer::Uid(uid) if agent.uid != Some(uid) => {
            return Err(AuthError::token(
                "not_your_token",
                format!(
                    "this token is for agent {}, whose UID is not yours",
                    agent.name
                ),
            ));
        }
        // Whoever lives on the appliance has the socket. Over TCP its token alone proves nothing, since
        // the agent's files may have been read by another; its key must have been used.
        Peer::Ip(_) if agent.uid.is_some() && token.holder().is_none() => {
            return Err(AuthError::token(
                "token_needs_socket",
                format!(
                    "agent {} lives on the appliance: use its token over the Unix socket, or bind it \
                     to a key (holder_pub_key) and send Ephyr-Proof",
                    agent.name
                ),
            ));
        }
        _ => {}
    }
    // The policy may have begun to ask for keys after the token was made. A task that was made to be bound
    // says so itself.
    if agent.require_pop && token.holder().is_none() && standing == Standing::Full {
        return Err(AuthError::token(
            "holder_required",
            format!(
                "the policy wants the tokens of agent {} bound to a key (require_pop), and this one is \
                 not: create a new task with holder_pub_key",
                agent.name
            ),
        ));
    }
    let proof = match headers.get(proof::HEADER) {
        None => None,
        Some(value) => {
            let text = value
                .to_str()
                .map_err(|_| AuthError::Proof("Ephyr-Proof is malformed".to_owned()))?;
            Some(Proof::parse(text).map_err(|error| AuthError::Proof(error.to_string()))?)
        }
    };
    Ok(Admitted {
        caller: Caller::new(subject(&token), Via::Token, Some(token), standing),
        proof,
    })
}

/// Whether a text is a token of a live task, and if so, which.
fn verify(broker: &Broker, text: &str) -> Result<(VerifiedToken, Standing), AuthError> {
    let refused =
        |error: ephyr_token::TokenError| AuthError::token(error.code(), error.to_string());
    let now = clock::now();
    let token = UnverifiedToken::parse(text).map_err(refused)?;
    let epoch = broker.state().epoch(token.epoch()).ok_or_else(|| {
        AuthError::token(
            "epoch_over",
            "the token is from an earlier life of the broker; create a new task",
        )
    })?;
    let key = epoch.root_key(token.root());
    let token = token.verify(&key).map_err(refused)?;
    if let Err(error) = token.check_expiry(now) {
        broker.state().end(token.task(), now);
        return Err(refused(error));
    }
    let Some(record) = broker.state().task(token.task()) else {
        return Err(AuthError::token(
            "task_unknown",
            "the token's task has ended; create a new one",
        ));
    };
    let standing = match (&record.holder, token.holder()) {
        (Some(own), Some(shown)) if own == shown => Standing::Full,
        (Some(_), None) => Standing::Superseded,
        (None, None) => match record.bind_deadline {
            None => Standing::Full,
            Some(deadline) if now < deadline => Standing::Locked,
            Some(deadline) => {
                broker.state().end(token.task(), now);
                let why = format!("the task was not bound to a key by {deadline} and is over");
                return Err(AuthError::token("bind_deadline_over", why));
            }
        },
        _ => {
            return Err(AuthError::token(
                "holder_mismatch",
                "the token is not bound to its task's key",
            ));
        }
    };
    if let Some(revoked) = broker.state().revoked(&record.lineage) {
        return Err(AuthError::token(
            "task_revoked",
            format!(
                "task {} was revoked at {}; create a new one",
                revoked.task, revoked.at
            ),
        ));
    }
    Ok((token, standing))
}

fn subject(token: &VerifiedToken) -> Subject {
    Subject {
        agent: token.agent().clone(),
        lineage: token.lineage().zip(token.agents().cloned()).collect(),
        envelope: Some(token.envelope().clone()),
        frozen: false,
    }
}

/// Checks that a bound token's holder made this very request, and only once.
pub(super) fn prove(
    broker: &Broker,
    caller: &Caller,
    proof: Option<&Proof>,
    head: &Parts,
    body: &[u8],
) -> Result<(), AuthError> {
    let Some((token, holder)) = caller
        .token()
        .and_then(|token| Some((token, token.holder()?)))
    else {
        return Ok(());
    };
    let Some(proof) = proof else {
        let why = "the token is bound to a key: send Ephyr-Proof with each request";
        return Err(AuthError::Proof(why.to_owned()));
    };
    let request = ProofRequest {
        method: head.method.as_str(),
        path: target(head),
        body: digest(body),
        token: token.digest(),
    };
    accept(broker, caller.agent(), proof, holder, &request)
}

/// Checks that whoever has `holder` made the request that its unbound token came with.
pub(super) fn prove_new_holder(
    broker: &Broker,
    caller: &Caller,
    own: Option<&OwnProof>,
    holder: &HolderKey,
) -> Result<(), AuthError> {
    let (Some(token), Some(own)) = (caller.token(), own) else {
        let why = "send Ephyr-Proof, made with the key that is to be bound";
        return Err(AuthError::Proof(why.to_owned()));
    };
    let request = ProofRequest {
        method: own.method.as_str(),
        path: &own.path,
        body: own.body,
        token: token.digest(),
    };
    accept(broker, caller.agent(), &own.proof, holder, &request)
}

fn accept(
    broker: &Broker,
    agent: &AgentName,
    proof: &Proof,
    holder: &HolderKey,
    request: &ProofRequest<'_>,
) -> Result<(), AuthError> {
    let now = clock::now();
    let proven = proof
        .check(holder, request, now, proof::SKEW)
        .map_err(|error| AuthError::Proof(error.to_string()))?;
    let until = proven.time.after(proof::SKEW);
    let key = (request.token, proven.nonce.0);
    broker
        .state()
        .nonces()
        .accept(agent, key, proven.time, until, now)
        .map_err(|error| AuthError::Proof(error.to_string()))
}

/// The request target as proofs cover it.
pub(super) fn target(head: &Parts) -> &str {
    head.uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
}

/// SHA-256 of a body.
pub(super) fn digest(body: &[u8]) -> ephyr_names::Digest {
    ephyr_names::Digest(Sha256::digest(body).into())
}
