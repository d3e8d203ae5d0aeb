//! The signer's binary. The code is in the library so that tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ephyr_signer::main(std::env::args_os().skip(1))
}
