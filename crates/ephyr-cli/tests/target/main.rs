//! `ephyr target render --format debian`: the result is installed on a host with real accounts, sshd and sudo.

#![cfg(test)]

mod accounts;
mod environment;
mod host;
mod keywords;
mod logins;
mod precedence;
