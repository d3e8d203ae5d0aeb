//! The broker's program; see the library for what it does.

fn main() -> std::process::ExitCode {
    ephyr_broker::run::main()
}
