//! The guard's process; everything is in the library.

fn main() -> std::process::ExitCode {
    ephyr_netguard::main()
}
