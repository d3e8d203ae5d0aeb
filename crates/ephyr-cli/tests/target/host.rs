//! A host on which a target is installed: this system with a private copy of `/etc` and empty `/var`, `/run` and
//! `/tmp`, in namespaces that end with the test. Programs, accounts and configuration in it are real.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ephyr_testkit::{Program, RunOutput, Value, json, run, skip};
use tempfile::TempDir;

/// The path of the exchange directory on the host.
pub(crate) const INSIDE: &str = "/srv";

/// Prepares the mounts, prints `ready` and waits for the end of its input; then all processes of the host end.
const SETUP: &str = r#"
set -eu
mount -t tmpfs none /mnt
cp -a /etc /mnt/etc
mount --bind /mnt/etc /etc
mount --bind "$1" /srv
for place in /run /tmp /var/tmp /dev/shm /var/lib /var/mail /var/spool /home; do
    if [ -d "$place" ]; then mount -t tmpfs -o mode=755 none "$place"; fi
done
chmod 1777 /tmp /var/tmp
mkdir -p /run/sshd /var/spool/cron/crontabs
echo ready
cat > /dev/null
"#;

pub(crate) struct Host {
    keeper: Child,
    dir: TempDir,
    init: u32,
    port: u16,
}

impl Host {
    /// Starts a host with sshd and the login `ops`; `None`, after [`skip`], where this is not possible.
    pub(crate) fn start() -> Option<Self> {
        Self::with_config("")
    }

    /// Like [`Host::start`], with these lines at the end of `sshd_config`.
    pub(crate) fn with_config(lines: &str) -> Option<Self> {
        let mut host = Self::unshare()?;
        host.key("ca");
        host.key("agent");
        host.key("ops");
        fs::write(host.outside("lines"), lines).unwrap();
        host.ok(&format!(
            "ssh-keygen -A > /dev/null; cat {INSIDE}/lines >> /etc/ssh/sshd_config
             useradd --create-home --shell /bin/sh ops
             usermod --password '*' ops; install -d -o ops -g ops -m 700 /home/ops/.ssh
             install -o ops -g ops -m 600 {INSIDE}/ops.pub /home/ops/.ssh/authorized_keys"
        ));
        host.start_sshd();
        Some(host)
    }

    fn unshare() -> Option<Self> {
        if fs::metadata("/proc/self")
            .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) != 0)
        {
            skip("a separate host needs root");
            return None;
        }
        for program in ["sudo", "visudo", "sshd", "useradd"] {
            if !["/usr/sbin", "/usr/bin"]
                .iter()
                .any(|dir| Path::new(dir).join(program).exists())
            {
                skip(&format!("{program} is not installed"));
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "sh", "-c", SETUP, "host"])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = keeper.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        if line.trim() != "ready" {
            let _ = keeper.wait();
            skip("mount and process namespaces are not permitted");
            return None;
        }
        let pid = keeper.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let init = children.trim().parse().unwrap();
        Some(Self {
            keeper,
            dir,
            init,
            port: 0,
        })
    }

    /// The path of a file in the exchange directory, outside the host.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a shell script on the host as root.
    pub(crate) fn sh(&self, script: &str) -> RunOutput {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init))
            .args(["--mount", "--pid", "sh", "-euc", script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/");
        run(command, "").unwrap()
    }

    /// Like [`Host::sh`], but the script must succeed; returns its output.
    pub(crate) fn ok(&self, script: &str) -> String {
        let ran = self.sh(script);
        assert_eq!(
            ran.code,
            0,
            "{script}\n{}{}\n{}",
            ran.out,
            ran.err,
            self.log()
        );
        ran.out
    }

    fn key(&self, name: &str) {
        self.ok(&format!(
            "ssh-keygen -q -t ed25519 -N '' -C {name} -f {INSIDE}/{name}"
        ));
    }

    fn start_sshd(&mut self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        self.port = listener.local_addr().unwrap().port();
        drop(listener);
        let port = self.port;
        self.ok(&format!(
            "/usr/sbin/sshd -E {INSIDE}/log -o Port={port} -o ListenAddress=127.0.0.1 -o LogLevel=VERBOSE"
        ));
        self.wait_for_start(1);
    }

    /// Runs a script that reloads sshd, and waits until sshd listens again.
    pub(crate) fn reloading(&self, script: &str) -> String {
        let before = self.starts();
        let output = self.ok(script);
        self.wait_for_start(before + 1);
        output
    }

    fn starts(&self) -> usize {
        self.log().matches("Server listening on").count()
    }

    fn wait_for_start(&self, number: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.starts() < number
            || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err()
        {
            assert!(Instant::now() < end, "sshd does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.outside("log")).unwrap_or_default()
    }

    /// Renders the target `web` of a policy into a directory of the exchange directory.
    pub(crate) fn render(&self, name: &str, policy: &Value, arguments: &[&str]) {
        let file = self.outside("policy.yaml");
        fs::write(&file, policy.to_string()).unwrap();
        let out = self.outside(name);
        let _ = fs::remove_dir_all(&out);
        let (file, ca) = (file.to_str().unwrap(), self.outside("ca.pub"));
        let mut all = vec![
            "target", "render", "web", "--policy", file, "--format", "debian",
        ];
        all.extend([
            "--ca-pub",
            ca.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ]);
        all.extend(arguments);
        let ran = Program::new(env!("CARGO_BIN_EXE_ephyr")).run(&all);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }

    /// Writes a configuration file of sshd.
    pub(crate) fn configure(&self, path: &str, text: &str) {
        fs::write(self.outside("configuration"), text).unwrap();
        self.ok(&format!("cp {INSIDE}/configuration {path}"));
    }

    /// Renders and installs a policy; asserts that this fails and restores everything. Returns the error.
    pub(crate) fn refused(&self, policy: &Value, arguments: &str) -> String {
        let before = self.state();
        self.render("web", policy, &[]);
        let ran = self.sh(&format!("{INSIDE}/web/install.sh {arguments}"));
        assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains("put back"), "{}", ran.err);
        self.assert_state(&before);
        ran.err
    }

    /// Asserts that `check.sh` fails, and returns its error.
    pub(crate) fn complaint(&self, arguments: &str) -> String {
        let ran = self.sh(&format!("{INSIDE}/web/check.sh {arguments}"));
        assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
        ran.err
    }

    /// Renders and installs a policy; returns the output.
    pub(crate) fn install(&self, policy: &Value) -> String {
        self.render("web", policy, &[]);
        self.reloading(&format!("{INSIDE}/web/install.sh 2>&1"))
    }

    /// Creates a certificate for the agent's key.
    pub(crate) fn certify(&self, principal: &str, options: &str) {
        self.ok(&format!(
            "ssh-keygen -q -s {INSIDE}/ca -I test -z 7 -n {principal} -V -1m:+5m {options} {INSIDE}/agent.pub"
        ));
    }

    /// Logs in as `account` with a key (and its certificate) and runs a command.
    pub(crate) fn ssh(&self, key: &str, account: &str, command: &str) -> RunOutput {
        self.ssh_with(key, account, command, &[])
    }

    /// Like [`Host::ssh`], and sends these variables.
    pub(crate) fn ssh_with(
        &self,
        key: &str,
        account: &str,
        command: &str,
        variables: &[(&str, &str)],
    ) -> RunOutput {
        let mut ssh = Command::new("ssh");
        for (name, value) in variables {
            ssh.env(name, value)
                .args(["-o", &format!("SendEnv={name}")]);
        }
        ssh.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "IdentityAgent=none", "-o", "LogLevel=ERROR", "-i"])
        .arg(self.outside(key))
        .arg("-p")
        .arg(self.port.to_string())
        .arg(format!("{account}@127.0.0.1"))
        .arg(command);
        run(ssh, "").unwrap()
    }

    /// Logs in with the agent's key and a new certificate for this principal.
    pub(crate) fn login(&self, principal: &str, account: &str, command: &str) -> RunOutput {
        self.certify(principal, "");
        self.ssh("agent", account, command)
    }

    /// Asserts that the operator's login works.
    pub(crate) fn assert_operator(&self) {
        let ran = self.ssh("ops", "ops", "id -un");
        assert_eq!(ran.out, "ops\n", "{}\n{}", ran.err, self.log());
    }

    /// Returns mode, owner, name and content of all files that Ephyr could have changed, except the backups of the
    /// account tools.
    pub(crate) fn state(&self) -> BTreeSet<String> {
        let text = self.ok(
            "cd /; find etc var/lib var/spool home ! -name '*-' -printf '%M %u %g %p\n'
             find etc var/lib -type f ! -name '*-' -exec sha256sum {} +",
        );
        text.lines().map(str::to_owned).collect()
    }

    /// Asserts that the state equals an earlier one.
    pub(crate) fn assert_state(&self, earlier: &BTreeSet<String>) {
        let changes: Vec<String> = self
            .state()
            .symmetric_difference(earlier)
            .cloned()
            .collect();
        assert!(changes.is_empty(), "{}", changes.join("\n"));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The first process of the PID namespace ends with its input, and the kernel then kills all others.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A policy with the target `web` and two roles.
pub(crate) fn policy() -> Value {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDvXgYTLmHTbmVUfYW58bPtT6NpPYvrf0S6VbT8xRmFn";
    json!({
        "roles": {
            "read": {"principal": "eph-read", "shell": "/bin/sh"},
            "op": {"principal": "eph-op", "sudo": ["/usr/bin/id -u", "/usr/bin/whoami"]},
        },
        "targets": {
            "web": {"host": "h", "host_key": key, "allowed_roles": ["read", "op"], "auto_approve": true},
        },
        "agents": {"a": {"uid": 1500, "ssh": {"web": {"roles": ["read", "op"]}}}},
    })
}
