//! `ephyr nft`: prints the firewall rules for a policy's agents.

use std::process::ExitCode;

use ephyr_render::NftTable;
use serde_json::json;

use crate::args::Nft;
use crate::failure::Failure;
use crate::output::Output;
use crate::policy_file;

pub(crate) fn run(nft: &Nft, output: &Output) -> Result<ExitCode, Failure> {
    let Nft::Render {
        policy,
        definitions,
        mcp_listen,
    } = nft;
    let policy = policy_file::compiled(policy)?;
    let table = NftTable::new(&policy, *mcp_listen);
    let text = if *definitions {
        table.definitions()
    } else {
        table.ruleset()
    };
    let value = json!({"policy": policy.hash(), "text": text});
    output.show(&value, || text.clone())?;
    Ok(ExitCode::SUCCESS)
}
