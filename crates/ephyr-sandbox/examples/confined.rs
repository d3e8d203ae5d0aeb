//! Confines itself as its options say, then tries one thing and prints `ok` or the error: a way to
//! see by hand what a daemon's sandbox lets through on this kernel.
//!
//! `confined [--minimum ABI] [--read PATH] [--read-if-present PATH] [--write PATH]
//! [--connect-unix DIR] [--network any|PORT] [--filter signer|network] DO [WHAT]`

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
        let value = arguments.next().ok_or("an option without its value")?;
        let known = confinement.take().unwrap_or_else(|| Confinement::new(0));
        confinement = Some(match option.as_str() {
            "--minimum" => Confinement::new(value.parse()?),
            "--read" => known.read(value),
            "--read-if-present" => known.read_if_present(value),
            "--write" => known.write(value),
            "--connect-unix" => known.connect_unix(value),
            "--network" if value == "any" => known.network(Network::Any),
            "--network" => known.network(Network::Tcp {
                bind: vec![],
                connect: vec![value.parse()?],
            }),
            "--filter" => {
                filter = Some(match value.as_str() {
                    "signer" => Filter::Signer,
                    "network" => Filter::Network,
                    other => return Err(format!("no filter {other:?}").into()),
                });
                known
            }
            other => return Err(format!("no option {other:?}").into()),
        });
    }
    let doing = arguments.next().ok_or("what to do?")?;
    let what = arguments.next().unwrap_or_default();
    if doing == "confine-beside-a-thread" {
        std::thread::spawn(std::thread::park);
    }
    let report = confinement.map(|known| known.apply()).transpose()?;
    if let Some(filter) = filter {
        filter.apply()?;
    }
    if doing == "report" {
        println!("{report:?}");
        return Ok(());
    }
    match attempt(&doing, &what, &notifier) {
        Ok(said) => println!("ok{said}"),
        Err(error) => println!("refused: {error}"),
    }
    Ok(())
}

fn attempt(doing: &str, what: &str, notifier: &Notifier) -> Outcome {
    match doing {
        "read" => drop(fs::read(what)?),
        "create" => fs::write(what, "made")?,
        "append" => drop(fs::OpenOptions::new().append(true).open(what)?),
        "remove" => fs::remove_file(what)?,
        "execute" => {
            let status = Command::new(what).status()?;
            if !status.success() {
                return Err(format!("it ended with {status}").into());
            }
        }
        "connect" => drop(TcpStream::connect(("127.0.0.1", what.parse()?))?),
        "bind" => drop(TcpListener::bind(("127.0.0.1", what.parse()?))?),
        "udp" => drop(UdpSocket::bind("127.0.0.1:0")?),
        "connect-unix" => drop(UnixStream::connect(Path::new(what))?),
        "pair" => drop(UnixStream::pair()?),
        "signal" => {
            let pid = rustix::process::Pid::from_raw(what.parse()?).ok_or("no pid")?;
            rustix::process::test_kill_process(pid)?;
        }
        "thread" => std::thread::Builder::new()
            .spawn(|| ())?
            .join()
            .map_err(|_| "panicked")?,
        "chmod" => fs::set_permissions(what, fs::metadata(what)?.permissions())?,
        "activated" => return activated(what),
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
        other => return Err(format!("cannot {other:?}").into()),
    }
    Ok(String::new())
}

fn activated(name: &str) -> Outcome {
    let mut sockets = Activated::from_env();
    let Some(listener): Option<UnixListener> = sockets.unix(name)? else {
        return Err("no socket of this name".into());
    };
    let (mut caller, _) = listener.accept()?;
    std::io::Write::write_all(&mut caller, b"hello")?;
    Ok(String::new())
}
