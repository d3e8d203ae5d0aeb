//! System tests: the broker with the real signer, real sshd targets and agents with their own UIDs. Each refusal has
//! a counterpart that succeeds.

mod audit_down;
mod callers;
mod commands;
#[cfg(test)]
mod delegation;
mod faults;
#[cfg(test)]
mod helpers;
#[cfg(test)]
mod holder_cli;
mod reload;
mod restart;
mod revocation;
#[cfg(test)]
mod start;
