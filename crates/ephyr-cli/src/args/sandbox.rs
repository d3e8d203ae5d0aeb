//! The subcommand `sandbox`.

use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The kernel's Landlock restricts the command and all its child processes permanently. They may read and execute files \
below /usr, /bin, /sbin, /lib*, /nix/store and /etc, use /dev/null and similar devices, and use the paths and ports \
that the options name. Open files (standard input, output and error) stay open. File modes still apply. Many programs \
need --ro /proc, which shows all processes of its mount; a sandbox in a sandbox needs it as well.\n\n\
The restrictions depend on the kernel (see --verbose): files from Linux 5.13, TCP from 6.7 (ABI 4), signals to outside \
processes and their abstract sockets from 6.12 (ABI 6). UDP and other protocols are not restricted below ABI 10. \
Connections to Unix sockets with a path are not restricted below ABI 9: there --socket has no effect, and the command \
can connect to every socket that its user can. If that matters, hide the sockets with a mount namespace, as the \
agents' units do.\n\n\
The command replaces this process, so the exit status is the command's. Otherwise: 126 the command cannot be executed, \
127 command not found, 64 invalid command line, 66 a path does not exist, 69 the kernel enforces too little.")]
pub(crate) struct Sandbox {
    /// Allow reading a file or directory and executing programs in it (repeatable); skipped if it does not exist
    #[arg(long, value_name = "PATH")]
    pub(crate) ro: Vec<PathBuf>,

    /// Allow reading, writing, creating, removing and executing files at or below a path (repeatable)
    #[arg(long, value_name = "PATH")]
    pub(crate) rw: Vec<PathBuf>,

    /// Allow connecting to a Unix socket, or to all in a directory (repeatable). For a socket that may be recreated,
    /// name its directory
    // The explicit id overrides the global `--socket`, which names the broker's socket.
    #[arg(id = "socket", long, value_name = "PATH")]
    pub(crate) sockets: Vec<PathBuf>,

    /// Allow connecting to a TCP port, on any address (repeatable)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connect: Vec<u16>,

    /// Refuse to run as another user id; the broker and the firewall identify an agent by this id
    #[arg(long, value_name = "UID")]
    pub(crate) uid: Option<u32>,

    /// The minimum Landlock ABI; with an older kernel the command is not run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) minimum_abi: u32,

    /// Print on standard error what the kernel enforces
    #[arg(long, short)]
    pub(crate) verbose: bool,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}
