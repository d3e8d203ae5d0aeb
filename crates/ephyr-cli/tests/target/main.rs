//! `ephyr target render --format debian`, run on a host: real accounts, real sshd, real sudo.

#![cfg(test)]

mod accounts;
mod environment;
mod host;
mod keywords;
mod logins;
mod precedence;
