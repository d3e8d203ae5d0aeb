//! The audit log from outside: written by its writer, attacked, crashed, and read again.
#![cfg(test)]

mod crash;
mod disk_full;
mod faults;
mod properties;
mod support;
mod tamper;
mod writing;
