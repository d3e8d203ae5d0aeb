//! The audit log from outside: written by its writer, attacked, crashed, and read again.
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
