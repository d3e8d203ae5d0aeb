//! `ephyr keys new`: an API key, shown once, and its hash for the policy.

use std::process::ExitCode;

use ephyr_names::AgentName;
use serde_json::json;

use crate::args::Keys;
use crate::failure::{CANNOT_CREATE, Failure};
use crate::output::Output;

/// bcrypt's cost factor.
const COST: u32 = 10;

/// 43 characters out of 62 are 256 bits.
const CHARACTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LENGTH: usize = 43;

pub(crate) fn run(keys: &Keys, output: &Output) -> Result<ExitCode, Failure> {
    let Keys::New { agent } = keys;
    let key = generate(agent)?;
    let hash = bcrypt::non_truncating_hash(&key, COST).map_err(|error| match error {
        bcrypt::BcryptError::Truncation(_) => Failure::usage(format!(
            "the name {agent} is too long for a key: bcrypt reads 72 bytes, which leaves a name 23 characters"
        )),
        other => Failure::new(CANNOT_CREATE, "no_hash", format!("hashing: {other}")),
    })?;
    let value = json!({"agent": agent, "api_key": key, "api_key_hash": hash});
    output.show(&value, || {
        format!(
            "# for {agent}, shown only now:\nEPHYR_API_KEY={key}\n\
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
        // Bytes beyond the last whole multiple of 62 would make the first characters likelier.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let wanted = LENGTH - random.len();
        random.extend(
            fair.take(wanted)
                .map(|byte| char::from(CHARACTERS[usize::from(byte % 62)])),
        );
    }
    Ok(format!("eph_{agent}_{random}"))
}
