//! `ephyr sandbox`.

use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Landlock does it, in the kernel: the command and all that it starts can never get out. It may read and run what is \
below /usr, /bin, /sbin, /lib*, /nix/store and /etc, use /dev/null and its like, and nothing else but what the \
options name. Files that are open already (standard input, output and error) stay open. User ids and modes hold as ever. \
Many programs want --ro /proc, which shows whatever processes its mount shows; a sandbox in a sandbox needs it.\n\n\
How far it goes depends on the kernel (--verbose says it): files from Linux 5.13 on, TCP from 6.7 (ABI 4), signals to \
and abstract sockets of processes outside from 6.12 (ABI 6). UDP and other protocols are left alone below ABI 10. \
Connecting to Unix sockets that have a path is left alone below ABI 9: there --socket changes nothing, and the command \
reaches every socket that its user may. Where that matters, hide them by a mount namespace, as the agents' units do.\n\n\
The command takes this process's place, so its exit status is the command's. Otherwise: 126 the command cannot be \
run, 127 it is not there, 64 the command line is wrong, 66 a path is not there, 69 the kernel enforces too little.")]
pub(crate) struct Sandbox {
    /// A file or directory to read, and run programs from (repeatable); one that is not there is passed over
    #[arg(long, value_name = "PATH")]
    pub(crate) ro: Vec<PathBuf>,

    /// A file or directory to use in full: read, write, make, remove, run (repeatable)
    #[arg(long, value_name = "PATH")]
    pub(crate) rw: Vec<PathBuf>,

    /// A Unix socket to connect to, or a directory of such (repeatable). A socket made anew is another one: name
    /// its directory
    // By this name, not the one that is the broker's for every other command.
    #[arg(id = "socket", long, value_name = "PATH")]
    pub(crate) sockets: Vec<PathBuf>,

    /// A TCP port to connect to, on any address (repeatable)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connect: Vec<u16>,

    /// Run nothing unless it runs as this user id, by which broker and firewall know an agent
    #[arg(long, value_name = "UID")]
    pub(crate) uid: Option<u32>,

    /// The least Landlock ABI to run the command with
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) minimum_abi: u32,

    /// Say on standard error what the kernel enforces
    #[arg(long, short)]
    pub(crate) verbose: bool,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}
