//! `ephyr keys new`: prints a new API key and its hash for the policy. The key is not stored.

use std::process::ExitCode;

use ephyr_names::AgentName;
use serde_json::json;

use crate::args::Keys;
use crate::failure::{CANNOT_CREATE, Failure};
use crate::output::Output;

/// bcrypt's cost factor.
const COST: u32 = 10;

/// 43 of 62 possible characters have 256 bits of entropy.
const CHARACTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LENGTH: usize = 43;

pub(crate) fn run(keys: &Keys, output: &Output) -> Result<ExitCode, Failure> {
    let Keys::New { agent } = keys;
    let key = generate(agent)?;
    let hash = bcrypt::non_truncating_hash(&key, COST).map_err(|error| match error {
        bcrypt::BcryptError::Truncation(_) => Failure::usage(format!(
            "the name {agent} is too long for an API key: bcrypt reads 72 bytes, which leaves 23 characters for the name"
        )),
        other => Failure::new(
            CANNOT_CREATE,
            "no_hash",
            format!("the key cannot be hashed: {other}"),
        ),
    })?;
    let value = json!({"agent": agent, "api_key": key, "api_key_hash": hash});
    output.show(&value, || {
        format!(
            "# for {agent}; the key is not stored and cannot be shown again:\nEPHYR_API_KEY={key}\n\
             # for the policy, under agents.{agent}:\napi_key_hash: {hash}\n"
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn generate(agent: &AgentName) -> Result<String, Failure> {
    let mut random = String::with_capacity(LENGTH);
    let mut bytes = [0u8; 64];
    while random.len() < LENGTH {
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::new(CANNOT_CREATE, "no_randomness", error.to_string()))?;
        // 248 is the largest multiple of 62 in a byte: greater values would favour some characters.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let wanted = LENGTH - random.len();
        random.extend(
            fair.take(wanted)
                .map(|byte| char::from(CHARACTERS[usize::from(byte % 62)])),
        );
    }
    Ok(format!("eph_{agent}_{random}"))
}
