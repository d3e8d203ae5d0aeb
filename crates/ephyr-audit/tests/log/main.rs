//! Tests of the audit log through its public API: writing, attacks, crashes, verification and queries.
#![cfg(test)]

mod attempts;
mod crash;
mod disk_full;
mod displaced;
mod documented;
mod faults;
mod lifetime;
mod properties;
mod reading;
mod support;
mod tamper;
mod writing;
