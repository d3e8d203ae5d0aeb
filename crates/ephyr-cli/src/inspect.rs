//! `ephyr inspect`: shows the contents of a token, without verification: only the broker can verify a token.

use std::io::Read as _;
use std::process::ExitCode;

use ephyr_token::{Explanation, MAX_TOKEN_BYTES, explain};

use crate::args::Inspect;
use crate::failure::{DATA, Failure};
use crate::fields;
use crate::output::{Output, plain};

pub(crate) fn run(inspect: &Inspect, output: &Output) -> Result<ExitCode, Failure> {
    let text = match inspect.token.as_deref() {
        Some("-") => standard_input()?,
        Some(text) => text.to_owned(),
        None => std::env::var("EPHYR_TOKEN").map_err(|_| {
            Failure::usage(
                "no token: pass it on standard input (ephyr inspect -) or in EPHYR_TOKEN",
            )
        })?,
    };
    let text = text.trim();
    if text.starts_with("eph_") {
        let why = "not a token: this is an API key; `ephyr task create` creates a token with it";
        return Err(Failure::data(why));
    }
    let explanation = explain(text).map_err(|error| Failure::data(error.to_string()))?;
    output.show(&explanation, || describe(&explanation))?;
    let refused = explanation.refused.is_some();
    Ok(if refused {
        ExitCode::from(DATA)
    } else {
        ExitCode::SUCCESS
    })
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let limit = u64::try_from(MAX_TOKEN_BYTES * 2).unwrap_or(u64::MAX);
    std::io::stdin()
        .take(limit)
        .read_to_string(&mut text)
        .map_err(|error| Failure::unreadable("standard input".as_ref(), &error))?;
    Ok(text)
}

fn describe(token: &Explanation) -> String {
    let mut text = format!(
        "not verified: only the broker can verify this token\n\
         digest: {}\nbytes:  {}\nepoch:  {}\nroot:   {}\n",
        token.digest, token.bytes, token.epoch, token.root
    );
    let mut section = |title: &str, caveats: &[String]| {
        text.push_str(title);
        text.push('\n');
        for caveat in caveats {
            text.push_str(&format!("  {}\n", plain(caveat)));
        }
        if caveats.is_empty() {
            text.push_str("  (none)\n");
        }
    };
    section("caveats of the broker:", &token.broker_caveats);
    section("caveats appended by holders:", &token.holder_caveats);
    match (&token.envelope, &token.refused) {
        (_, Some(why)) => text.push_str(&format!("every broker refuses it: {}\n", plain(why))),
        (Some(envelope), None) => {
            let value = serde_json::to_value(envelope).unwrap_or_default();
            text.push_str(&format!(
                "remaining authority, if it is genuine:\n{}",
                fields::envelope(&value, 1)
            ));
        }
        (None, None) => {}
    }
    text
}
