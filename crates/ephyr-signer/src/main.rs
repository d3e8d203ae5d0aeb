//! The signer's process; everything is in the library, so that tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ephyr_signer::main(std::env::args_os().skip(1))
}
