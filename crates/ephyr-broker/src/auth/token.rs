//! Authentication by task token: requirements of the policy and the listener, and proofs of possession.

use ephyr_core::caller::{AgentCaller, Standing};
use ephyr_core::tokens;
use ephyr_http::Peer;
use ephyr_names::AgentName;
use ephyr_token::{HolderKey, Proof, ProofRequest, proof};
use http::HeaderMap;
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::{Admitted, AuthError};
use crate::broker::Broker;
use crate::clock;

/// Establishes the caller of a request with a token.
pub(super) fn admit(
    broker: &Broker,
    peer: Peer,
    text: &str,
    headers: &HeaderMap,
) -> Result<Admitted, AuthError> {
    let (token, standing) = tokens::verify(broker.state(), text, clock::now())?;
    let policy = broker.policy();
    let agent = policy.agent(token.agent()).ok_or(AuthError::AgentUnknown)?;
    match peer {
        Peer::Uid(uid) if agent.uid != Some(uid) => {
            return Err(AuthError::NotYourToken(agent.name.clone()));
        }
        // An agent on the appliance has the socket. Over TCP its token alone proves nothing, since
        // another process may have read the agent's files; its key must have been used.
        Peer::Ip(_) if agent.uid.is_some() && token.holder().is_none() => {
            return Err(AuthError::TokenNeedsSocket(agent.name.clone()));
        }
        _ => {}
    }
    // A reload may have added require_pop after the token was minted. A task that must be bound is
    // restricted by its standing.
    if agent.require_pop && token.holder().is_none() && standing == Standing::Full {
        return Err(AuthError::HolderRequired(agent.name.clone()));
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
        caller: AgentCaller::by_token(token, standing),
        proof,
    })
}

/// Verifies that a bound token's holder made this request, and that it is not a replay.
pub(super) fn prove(
    broker: &Broker,
    caller: &AgentCaller,
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

/// Verifies, before binding, that the owner of `holder` made the request and that it is not a replay.
///
/// # Errors
/// [`AuthError::Proof`]: the proof is missing, invalid or a replay.
pub fn prove_new_holder(
    broker: &Broker,
    caller: &AgentCaller,
    holder: &HolderKey,
) -> Result<(), AuthError> {
    let (Some(token), Some(own)) = (caller.token(), caller.unbound_proof()) else {
        let why = "send Ephyr-Proof, made with the key that is to be bound";
        return Err(AuthError::Proof(why.to_owned()));
    };
    let request = ProofRequest {
        method: &own.method,
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

/// Returns the request target in the form that proofs cover.
pub(super) fn target(head: &Parts) -> &str {
    head.uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
}

/// Returns the SHA-256 of a body.
pub(super) fn digest(body: &[u8]) -> ephyr_names::Digest {
    ephyr_names::Digest(Sha256::digest(body).into())
}
