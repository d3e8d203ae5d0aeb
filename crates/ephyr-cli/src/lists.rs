//! `ephyr targets`, `certs`, `whoami`, `health`: prints the broker's responses as tables or fields.

use std::process::ExitCode;

use ephyr_api::v1::{Health, WhoAmI};
use ephyr_api::{ListCertsArguments, ListTargetsArguments};
use serde_json::Value;

use crate::broker::{self, TIMEOUT};
use crate::endpoint::Endpoint;
use crate::failure::{Failure, UNAVAILABLE};
use crate::fields::fields;
use crate::output::{Output, plain, table};

pub(crate) fn targets(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let answer = broker::call(endpoint, &ListTargetsArguments {}, TIMEOUT)?;
    list(
        &answer.value.targets,
        output,
        &answer.received,
        &["TARGET", "ROLES", "ADDRESS", "DESCRIPTION"],
        "no target is granted to you",
        |target| {
            let roles: Vec<&str> = target.roles.iter().map(|role| role.as_str()).collect();
            vec![
                target.name.to_string(),
                roles.join(","),
                format!("{}:{}", plain(&target.host), target.port),
                if target.enabled {
                    plain(&target.description)
                } else {
                    "disabled".to_owned()
                },
            ]
        },
    )
}

pub(crate) fn certs(endpoint: &Endpoint, output: &Output) -> Result<ExitCode, Failure> {
    let answer = broker::call(endpoint, &ListCertsArguments {}, TIMEOUT)?;
    list(
        &answer.value.certs,
        output,
        &answer.received,
        &["SERIAL", "KIND", "PRINCIPAL", "EXPIRES"],
        "you have no valid certificate",
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

// `whoami` and `health` print every member of the response, including those unknown to this version.

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

/// Prints a list as a table, or the text `none` if it is empty.
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
