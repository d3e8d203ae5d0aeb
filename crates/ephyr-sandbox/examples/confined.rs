//! Confines itself as its options say, then attempts one operation and prints `ok` or the error. The tests use it, and it
//! shows by hand what a daemon's sandbox allows on this kernel.
//!
//! `confined [--minimum ABI] [--read PATH] [--read-if-present PATH] [--write PATH]
//! [--connect-unix DIR] [--network any|PORT] [--filter signer|network] OPERATION [ARGUMENT]`

use std::error::Error;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use ephyr_sandbox::{
    Activated, Confinement, Filter, Network, Notifier, lock_memory, set_non_dumpable,
};

type Outcome = Result<String, Box<dyn Error>>;

#[expect(clippy::print_stdout, reason = "an example's output")]
fn main() -> Result<(), Box<dyn Error>> {
    let notifier = Notifier::from_env()?;
    let mut arguments = std::env::args().skip(1).peekable();
    let mut confinement = None;
    let mut filter = None;
    while let Some(option) = arguments.next_if(|argument| argument.starts_with("--")) {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{option} needs a value"))?;
        let current = confinement.take().unwrap_or_else(|| Confinement::new(0));
        confinement = Some(match option.as_str() {
            "--minimum" => Confinement::new(value.parse()?),
            "--read" => current.read(value),
            "--read-if-present" => current.read_if_present(value),
            "--write" => current.write(value),
            "--connect-unix" => current.connect_unix(value),
            "--network" if value == "any" => current.network(Network::Any),
            "--network" => current.network(Network::Tcp {
                bind: vec![],
                connect: vec![value.parse()?],
            }),
            "--filter" => {
                filter = Some(match value.as_str() {
                    "signer" => Filter::Signer,
                    "network" => Filter::Network,
                    other => return Err(format!("unknown filter {other:?}").into()),
                });
                current
            }
            other => return Err(format!("unknown option {other:?}").into()),
        });
    }
    let operation = arguments.next().ok_or("the operation is missing")?;
    let argument = arguments.next().unwrap_or_default();
    if operation == "confine-beside-a-thread" {
        std::thread::spawn(std::thread::park);
    }
    let report = confinement
        .map(|confinement| confinement.apply())
        .transpose()?;
    if let Some(filter) = filter {
        filter.apply()?;
    }
    if operation == "report" {
        println!("{report:?}");
        return Ok(());
    }
    match attempt(&operation, &argument, &notifier) {
        Ok(result) => println!("ok{result}"),
        Err(error) => println!("refused: {error}"),
    }
    Ok(())
}

fn attempt(operation: &str, argument: &str, notifier: &Notifier) -> Outcome {
    match operation {
        "read" => drop(fs::read(argument)?),
        "create" => fs::write(argument, "made")?,
        "append" => drop(fs::OpenOptions::new().append(true).open(argument)?),
        "remove" => fs::remove_file(argument)?,
        "execute" => {
            let status = Command::new(argument).status()?;
            if !status.success() {
                return Err(format!("{argument} failed: {status}").into());
            }
        }
        "connect" => drop(TcpStream::connect(("127.0.0.1", argument.parse()?))?),
        "bind" => drop(TcpListener::bind(("127.0.0.1", argument.parse()?))?),
        "udp" => drop(UdpSocket::bind("127.0.0.1:0")?),
        "connect-unix" => drop(UnixStream::connect(Path::new(argument))?),
        "pair" => drop(UnixStream::pair()?),
        "signal" => {
            let pid = rustix::process::Pid::from_raw(argument.parse()?).ok_or("invalid pid")?;
            rustix::process::test_kill_process(pid)?;
        }
        "thread" => std::thread::Builder::new()
            .spawn(|| ())?
            .join()
            .map_err(|_| "panicked")?,
        "chmod" => fs::set_permissions(argument, fs::metadata(argument)?.permissions())?,
        "activated" => return activated(argument),
        "notify" => {
            notifier.ready();
            notifier.reloading();
            notifier.status("two\nlines");
            notifier.stopping();
            return Ok(format!(" {:?}", notifier.watchdog_interval()));
        }
        "memory" => {
            set_non_dumpable()?;
            return Ok(format!(" {:?}", lock_memory()));
        }
        "nothing" => {}
        other => return Err(format!("unknown operation {other:?}").into()),
    }
    Ok(String::new())
}

fn activated(name: &str) -> Outcome {
    let mut sockets = Activated::from_env();
    let Some(listener): Option<UnixListener> = sockets.unix(name)? else {
        return Err("no socket with this name".into());
    };
    let (mut caller, _) = listener.accept()?;
    std::io::Write::write_all(&mut caller, b"hello")?;
    Ok(String::new())
}
