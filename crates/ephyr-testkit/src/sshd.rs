//! A target: an OpenSSH server on a loopback port that trusts the world's CA.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::Daemon;
use crate::error::{Context as _, Error, Result};
use crate::keeper::Keeper;
use crate::keys::CaKey;

/// A running `sshd`.
pub struct Sshd {
    /// The loopback port that the server listens on.
    pub port: u16,
    /// The public host key as one line, for `host_key` in the policy.
    pub host_key: String,
    daemon: Daemon,
}

impl Sshd {
    /// Starts a server in `dir` with a new host key, on a free port. `accounts` pairs each account
    /// with the principal that may log in to it.
    pub(crate) fn start(
        keeper: &Keeper,
        dir: &Path,
        ca_pub: &Path,
        accounts: &[(String, String)],
    ) -> Result<Self> {
        let program = find_sshd()?;
        let principals = dir.join("principals");
        fs::create_dir_all(&principals).context(|| format!("making {}", principals.display()))?;
        for (account, principal) in accounts {
            let path = principals.join(account);
            fs::write(&path, format!("{principal}\n"))
                .context(|| format!("writing {}", path.display()))?;
        }
        let key = CaKey::generate("host key")?;
        key.write(&dir.join("host_key"))?;
        let penalties = has_source_penalties(&program);
        // Another process can take the port before sshd binds it: try again with another port.
        let mut tries = 0;
        loop {
            let port = free_port()?;
            fs::write(
                dir.join("sshd_config"),
                configuration(dir, ca_pub, port, penalties),
            )
            .context(|| "writing sshd_config".into())?;
            match spawn(keeper, &program, dir, port) {
                Ok(daemon) => {
                    return Ok(Self {
                        port,
                        host_key: key.public_line()?,
                        daemon,
                    });
                }
                Err(error) if tries == 4 => return Err(error),
                Err(_) => tries += 1,
            }
        }
    }

    /// The log so far, with logins (key ids included) and refused logins.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// The server process.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

fn spawn(keeper: &Keeper, program: &Path, dir: &Path, port: u16) -> Result<Daemon> {
    let mut command = keeper.command(program, None);
    command
        .arg("-D")
        .arg("-e")
        .arg("-f")
        .arg(dir.join("sshd_config"));
    let mut daemon = Daemon::spawn("sshd", command, &dir.join("sshd.log"), keeper.processes())?;
    daemon.wait_until("listening", |log| {
        let up = log.contains(&format!("port {port}."));
        (up && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()).then_some(())
    })?;
    Ok(daemon)
}

/// Returns the absolute path of `sshd`: it re-executes itself for each connection and therefore
/// refuses to start under a relative path.
fn find_sshd() -> Result<PathBuf> {
    crate::keeper::PATH
        .split(':')
        .map(|dir| Path::new(dir).join("sshd"))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::new("sshd not found; install the package openssh-server"))
}

/// Whether this sshd has `PerSourcePenalties` (OpenSSH 9.8 and later).
fn has_source_penalties(program: &Path) -> bool {
    let Ok(output) = Command::new(program).arg("-V").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    let version = text.split("OpenSSH_").nth(1).unwrap_or_default();
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0u32));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (9, 8)
}

fn configuration(dir: &Path, ca_pub: &Path, port: u16, penalties: bool) -> String {
    let (dir, ca_pub) = (dir.display(), ca_pub.display());
    // StrictModes would refuse files below a world-writable directory such as /tmp.
    let mut text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host_key\nPidFile none\n\
         TrustedUserCAKeys {ca_pub}\nAuthorizedPrincipalsFile {dir}/principals/%u\n\
         AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\nLogLevel VERBOSE\n\
         MaxStartups 300\nMaxSessions 10\nLoginGraceTime 60\nPrintMotd no\nPrintLastLog no\n\
         UseDNS no\nAllowTcpForwarding yes\nPermitTTY yes\n"
    );
    if penalties {
        text.push_str("PerSourcePenalties no\n");
    }
    text
}

/// Returns a loopback port that is free at the moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(|| "looking for a free port".into())?;
    listener
        .local_addr()
        .map(|addr| addr.port())
        .context(|| "looking for a free port".into())
}
