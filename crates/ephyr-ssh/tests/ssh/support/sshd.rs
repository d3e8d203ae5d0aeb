//! OpenSSH's sshd as the target.

use std::fs::{self, File, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Pin;
use super::ca::{Ca, PRINCIPAL};

/// The path on Debian, Fedora, Arch and Alpine.
const SSHD: &str = "/usr/sbin/sshd";

/// The account that only sshd sees when the tests run as root.
const ACCOUNT: &str = "ephyr-lab";
const ACCOUNT_UID: u32 = 64_007;

/// A running sshd, its CA and its account. Dropping it stops sshd.
pub(crate) struct Lab {
    pub(crate) port: u16,
    pub(crate) account: String,
    pub(crate) ca: Ca,
    /// Public host keys, as lines, in the order of [`Setup::host_keys`].
    pub(crate) host_keys: Vec<String>,
    sshd: Child,
    dir: TempDir,
}

/// The target's configuration.
pub(crate) struct Setup {
    /// Host key types of `ssh-keygen -t`.
    pub(crate) host_keys: &'static [&'static str],
    /// The account's login shell, when the tests run as root.
    pub(crate) shell: &'static str,
    /// More lines for sshd_config.
    pub(crate) config: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            host_keys: &["ed25519"],
            shell: "/bin/bash",
            config: "",
        }
    }
}

impl Lab {
    pub(crate) fn start() -> Self {
        Self::with(&Setup::default())
    }

    pub(crate) fn with(setup: &Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        let root = rustix::process::geteuid().is_root();
        let account = if root {
            make_account(path, setup.shell);
            ACCOUNT.to_owned()
        } else {
            output(Command::new("id").arg("-un"))
        };
        let ca = Ca::new(1);
        fs::write(path.join("ca.pub"), ca.public()).unwrap();
        fs::write(path.join("principals"), format!("{PRINCIPAL}\n")).unwrap();
        let host_keys = setup.host_keys.iter().map(|kind| host_key(path, kind));
        let host_keys = host_keys.collect();

        // Another process may take the port before sshd binds it.
        for _ in 0..5 {
            let port = free_port();
            fs::write(path.join("config"), config(path, port, setup)).unwrap();
            let mut sshd = spawn(path, root);
            if answers(&mut sshd, port) {
                return Self {
                    port,
                    account,
                    ca,
                    host_keys,
                    sshd,
                    dir,
                };
            }
        }
        panic!("sshd did not start:\n{}", log(path));
    }

    /// Pins the first host key.
    pub(crate) fn pin(&self) -> Pin {
        Pin::Key(self.host_keys[0].clone())
    }

    /// Returns sshd's log, for the message of a failed test.
    pub(crate) fn log(&self) -> String {
        log(self.dir.path())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

fn config(path: &Path, port: u16, setup: &Setup) -> String {
    let dir = path.display();
    let host_keys: String = setup
        .host_keys
        .iter()
        .map(|kind| format!("HostKey {dir}/host_{kind}\n"))
        .collect();
    // No PAM: it would use the machine's own account configuration.
    format!(
        "Port {port}\nListenAddress 127.0.0.1\n{host_keys}PidFile none\nStrictModes no\nUsePAM no\n\
         TrustedUserCAKeys {dir}/ca.pub\nAuthorizedPrincipalsFile {dir}/principals\n\
         AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         MaxStartups 200\nLogLevel VERBOSE\n{}\n",
        setup.config
    )
}

/// Generates a host key of this type. Returns the public key as a line without a comment.
fn host_key(path: &Path, kind: &str) -> String {
    let file = path.join(format!("host_{kind}"));
    output(
        Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", "", "-t", kind, "-f"])
            .arg(&file),
    );
    fs::read_to_string(file.with_extension("pub"))
        .unwrap()
        .trim()
        .to_owned()
}

/// Writes copies of the account files in `/etc` with one more account.
fn make_account(path: &Path, shell: &str) {
    let home = path.join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(ACCOUNT_UID), Some(ACCOUNT_UID)).unwrap();
    let add = |file: &str, line: String| {
        let mut text = fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
        text.push_str(&line);
        fs::write(path.join(file), text).unwrap();
    };
    let home = home.display();
    add(
        "passwd",
        format!("{ACCOUNT}:x:{ACCOUNT_UID}:{ACCOUNT_UID}::{home}:{shell}\n"),
    );
    add("group", format!("{ACCOUNT}:x:{ACCOUNT_UID}:\n"));
    add("shadow", format!("{ACCOUNT}:*:19000:0:99999:7:::\n"));
}

/// Starts sshd; as root in its own mount namespace, which alone has the account and sshd's directory.
fn spawn(path: &Path, root: bool) -> Child {
    const IN_NAMESPACE: &str = "cd \"$1\" && for f in passwd group shadow; do mount --bind $f /etc/$f || exit; \
         done; mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec \"$2\" -D -e -f \"$1/config\"";
    let log = File::create(path.join("log")).unwrap();
    let mut command = if root {
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                IN_NAMESPACE,
                "sh",
            ])
            .arg(path)
            .arg(SSHD);
        command
    } else {
        let mut command = Command::new(SSHD);
        command.args(["-D", "-e", "-f"]).arg(path.join("config"));
        command
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until sshd accepts connections. Returns false if it exits or takes too long.
fn answers(sshd: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if sshd.try_wait().unwrap().is_some() {
            return false;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = sshd.kill();
    let _ = sshd.wait();
    false
}

fn log(path: &Path) -> String {
    fs::read_to_string(path.join("log")).unwrap_or_default()
}

fn output(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{command:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}
