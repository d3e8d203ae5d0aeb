//! `ephyr targets`, `certs`, `whoami`, `health`: the broker's answers, as tables for people.

use std::process::ExitCode;

use ephyr_api::v1::{Health, WhoAmI};
use ephyr_api::{ListCertsArguments, ListTargetsArguments};
use serde_json::Value;

use crate::broker::{self, PATIENCE};
use crate::endpoint::Endpoint;
use crate::failure::{Failure, UNAVAILABLE};
use crate::fields::fields;
use crate::output::{Output, plain, table};

pub(crate) fn targets(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let answer = broker::call(endpoint, &ListTargetsArguments {}, PATIENCE)?;
    list(
        &answer.value.targets,
        output,
        &answer.received,
        &["TARGET", "ROLES", "ADDRESS", "WHAT"],
        "you may use no target",
        |target| {
            let roles: Vec<&str> = target.roles.iter().map(|role| role.as_str()).collect();
            vec![
                target.name.to_string(),
                roles.join(","),
                format!("{}:{}", plain(&target.host), target.port),
                if target.enabled {
                    plain(&target.description)
                } else {
                    "switched off".to_owned()
                },
            ]
        },
    )
}

pub(crate) fn certs(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let answer = broker::call(endpoint, &ListCertsArguments {}, PATIENCE)?;
    list(
        &answer.value.certs,
        output,
        &answer.received,
        &["SERIAL", "KIND", "OPENS", "UNTIL"],
        "no certificate is out for you",
        |cert| {
            vec![
                cert.serial.to_string(),
                plain(&cert.kind),
                plain(&cert.principal),
                cert.expires_at.to_string(),
            ]
        },
    )
}

// Both of these show every member of the answer, also those that this version does not know.

pub(crate) fn whoami(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let answer = broker::get::<WhoAmI<'_>>(endpoint, "/v1/whoami")?;
    output.show(&answer.received, || fields(&answer.received, 0))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn health(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let answer = broker::get::<Health>(endpoint, "/v1/health")?;
    output.show(&answer.received, || fields(&answer.received, 0))?;
    Ok(if answer.value.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(UNAVAILABLE)
    })
}

/// Prints a list under the heads of its columns.
pub(crate) fn list<T>(
    items: &[T],
    output: &Output,
    received: &Value,
    head: &[&str],
    none: &str,
    row: impl Fn(&T) -> Vec<String>,
) -> Result<ExitCode, Failure> {
    output.show(received, || {
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        if rows.is_empty() {
            return none.to_owned();
        }
        table(head, &rows)
    })?;
    Ok(ExitCode::SUCCESS)
}
