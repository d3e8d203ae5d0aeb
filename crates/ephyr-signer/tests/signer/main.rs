//! Tests of the signer's library and of the running process.

#[cfg(test)]
mod compromised_broker;
#[cfg(test)]
mod derive;
#[cfg(test)]
mod files;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod process;
#[cfg(test)]
mod service;
#[cfg(test)]
mod sshd;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tree;
