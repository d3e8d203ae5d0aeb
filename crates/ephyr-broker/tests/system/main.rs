//! The broker with all its neighbours as they are: the signer, real sshd targets, agents with UIDs of
//! their own. Each refusal has a twin beside it that succeeds.

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
