//! Two machines as network namespaces with a veth pair between them: the appliance, which runs the guard, and the
//! outside, which counts arriving packets.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ephyr_testkit::skip;
use rustix::process::{Pid, Signal, Uid, geteuid, kill_process};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_uid,
};
use tempfile::TempDir;

/// An agent without egress entries.
pub(crate) const SCOUT: u32 = 41_501;
/// An agent with two egress entries: `OUTSIDE`, TCP port 7001, and `OUTSIDE6`, TCP port 7006.
pub(crate) const ROBOT: u32 = 41_502;
/// An agent that may connect to the broker over TCP (`require_pop`).
pub(crate) const PROVER: u32 = 41_503;
/// A user that is not an agent.
pub(crate) const OTHER: u32 = 41_999;

/// Addresses of the outside machine.
pub(crate) const OUTSIDE: &str = "192.0.2.2";
pub(crate) const OUTSIDE6: &str = "2001:db8:1::2";
pub(crate) const METADATA: &str = "169.254.169.254";

pub(crate) const GUARD: &str = env!("CARGO_BIN_EXE_ephyr-netguard");

const COUNTING: &str = "
table inet sink {
    counter seen { }
    chain arriving {
        type filter hook prerouting priority -300; policy accept;
        ip saddr 192.0.2.1 counter name seen
        ip6 saddr 2001:db8:1::1 meta l4proto { tcp, udp } counter name seen
        ip6 saddr 2001:db8:1::1 icmpv6 type echo-request counter name seen
    }
}
";

/// A network namespace, held open by a process.
pub(crate) struct Machine {
    holder: Child,
}

pub(crate) struct Net {
    pub(crate) appliance: Machine,
    pub(crate) outside: Machine,
    pub(crate) dir: TempDir,
}

impl Net {
    /// Returns the two machines, or `None` after printing why they cannot be created here.
    pub(crate) fn new() -> Option<Self> {
        if !geteuid().is_root() {
            skip("network namespaces need root");
            return None;
        }
        for program in ["ip", "nft", "unshare"] {
            if Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .is_err()
            {
                skip(&format!("there is no program {program}"));
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let net = Self {
            appliance: Machine::new(),
            outside: Machine::new(),
            dir,
        };
        net.write_policy(&policy(&[SCOUT, ROBOT, PROVER]));
        net.connect();
        Some(net)
    }

    fn connect(&self) {
        let outside = self.outside.holder.id().to_string();
        let appliance = &self.appliance;
        appliance.run(&format!(
            "ip link add toward type veth peer name inside netns {outside}"
        ));
        for (machine, script) in [
            (
                appliance,
                "ip link set lo up
                 ip link set dev toward up
                 ip addr add 192.0.2.1/24 dev toward
                 ip addr add 2001:db8:1::1/64 dev toward nodad
                 ip route add default via 192.0.2.2
                 ip -6 route add default via 2001:db8:1::2",
            ),
            (
                &self.outside,
                "ip link set lo up
                 ip link set dev inside up
                 ip addr add 192.0.2.2/24 dev inside
                 ip addr add 169.254.169.254/32 dev lo
                 ip addr add 2001:db8:1::2/64 dev inside nodad",
            ),
        ] {
            script.lines().for_each(|line| {
                machine.run(line.trim());
            });
        }
        let counting = self.dir.path().join("sink.nft");
        std::fs::write(&counting, COUNTING).unwrap();
        self.outside.run(&format!("nft -f {}", counting.display()));
    }

    pub(crate) fn policy(&self) -> PathBuf {
        self.dir.path().join("policy.yaml")
    }

    pub(crate) fn status_file(&self) -> PathBuf {
        self.dir.path().join("run/status.json")
    }

    /// Replaces the policy by rename, as an operator's tools do.
    pub(crate) fn write_policy(&self, text: &str) {
        let new = self.dir.path().join("policy.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.policy()).unwrap();
    }

    /// Runs a command of `ephyr-netguard` on the appliance.
    pub(crate) fn guard(&self, command: &str) -> Output {
        let policy = self.policy();
        self.appliance.within(|| {
            Command::new(GUARD)
                .arg(command)
                .arg("--policy")
                .arg(&policy)
                .output()
                .unwrap()
        })
    }

    /// Runs `ephyr-netguard apply`, which must succeed.
    pub(crate) fn apply(&self) {
        let done = self.guard("apply");
        assert!(done.status.success(), "{}", stderr(&done));
    }

    /// Starts `ephyr-netguard watch` and waits until the table is in force.
    pub(crate) fn watch(&self, prefix: &[&str]) -> Watching {
        let run = self.dir.path().join("run");
        std::fs::create_dir_all(&run).unwrap();
        let log = self.dir.path().join("watch.log");
        let mut words: Vec<&str> = prefix.to_vec();
        words.push(GUARD);
        let stderr = File::create(&log).unwrap();
        let child = self.appliance.within(|| {
            Command::new(words[0])
                .args(&words[1..])
                .arg("watch")
                .arg("--policy")
                .arg(self.policy())
                .arg("--status")
                .arg(self.status_file())
                .stderr(stderr)
                .spawn()
                .unwrap()
        });
        let watching = Watching { child, log };
        wait_for("the table to be in force", || {
            assert!(watching.alive(), "the guard exited: {}", watching.log());
            watching.log().contains("the table is in force")
        });
        watching
    }

    /// Returns the content of `status.json`.
    pub(crate) fn status(&self) -> ephyr_testkit::Value {
        let text = std::fs::read_to_string(self.status_file()).unwrap();
        serde_json(&text)
    }

    /// Returns the number of packets from the appliance that arrived outside.
    pub(crate) fn seen(&self) -> u64 {
        let listed = self.outside.run("nft list counter inet sink seen");
        count_in(&listed)
    }

    /// Returns the number of rejected packets of an agent.
    pub(crate) fn rejected(&self, agent: &str) -> u64 {
        let listed = self
            .appliance
            .run(&format!("nft list counter inet ephyr agent-{agent}"));
        count_in(&listed)
    }
}

impl Machine {
    fn new() -> Self {
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let holder = Command::new("unshare")
            .args(["--net", "sleep", "300"])
            .spawn()
            .unwrap();
        let link = format!("/proc/{}/ns/net", holder.id());
        wait_for("a network namespace", || {
            std::fs::read_link(&link).is_ok_and(|link| link != own)
        });
        Self { holder }
    }

    /// Runs a closure in this machine's namespace.
    pub(crate) fn within<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .unwrap();
                job()
            });
            thread.join().unwrap()
        })
    }

    /// Runs a closure in this machine's namespace as a user.
    pub(crate) fn as_user<T: Send>(&self, uid: u32, job: impl FnOnce() -> T + Send) -> T {
        self.within(move || {
            let uid = Uid::from_raw(uid);
            set_thread_groups(&[]).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            job()
        })
    }

    /// Runs a shell command, which must succeed, and returns its standard output.
    pub(crate) fn run(&self, line: &str) -> String {
        let done = self.try_run(line);
        assert!(done.status.success(), "{line}: {}", stderr(&done));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Runs a shell command.
    pub(crate) fn try_run(&self, line: &str) -> Output {
        self.within(|| Command::new("sh").args(["-c", line]).output().unwrap())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A running `ephyr-netguard watch`.
pub(crate) struct Watching {
    child: Child,
    log: PathBuf,
}

impl Watching {
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn alive(&self) -> bool {
        Path::new(&format!("/proc/{}/exe", self.child.id()))
            .read_link()
            .is_ok()
    }

    pub(crate) fn stop(mut self) -> bool {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().success()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a policy with these agents.
pub(crate) fn policy(uids: &[u32]) -> String {
    let agent = |uid: &u32| match *uid {
        ROBOT => format!(
            "  robot:\n    uid: {ROBOT}\n    egress:\n      - {{ cidr: {OUTSIDE}/32, port: 7001 }}\n      \
             - {{ cidr: \"{OUTSIDE6}/128\", port: 7006 }}\n"
        ),
        PROVER => format!("  prover:\n    uid: {PROVER}\n    require_pop: true\n"),
        uid => format!("  scout:\n    uid: {uid}\n"),
    };
    let agents: String = uids.iter().map(agent).collect();
    if agents.is_empty() {
        // An agent without a UID on this machine.
        let hash = "$2b$10$1LNbtRoSK7Q8zgOSXXkOF.eV01BWLr6KPXg.wmykUFLNiL56mT/rC";
        format!("agents:\n  away:\n    api_key_hash: {hash}\n")
    } else {
        format!("agents:\n{agents}")
    }
}

/// Connects over TCP, with a timeout of two seconds.
pub(crate) fn tcp(to: &str, port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::new(to.parse().unwrap(), port);
    TcpStream::connect_timeout(&address, Duration::from_secs(2))
}

/// Sends one UDP packet.
pub(crate) fn udp(to: &str, port: u16) -> io::Result<()> {
    let address = SocketAddr::new(to.parse().unwrap(), port);
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    UdpSocket::bind(any)?.send_to(b"x", address).map(drop)
}

/// Sends as a user and returns the number of packets that arrived. A marker packet from root ends the count.
pub(crate) fn arrived(net: &Net, uid: u32, send: impl FnOnce() + Send) -> u64 {
    let before = net.seen();
    net.appliance.as_user(uid, send);
    net.appliance.within(|| udp(OUTSIDE, 9).unwrap());
    wait_for("the marker", || net.seen() > before);
    net.seen() - before - 1
}

/// Returns the standard error of a finished program.
pub(crate) fn stderr(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

/// Waits for a condition, for at most 20 seconds.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn write(mut stream: &TcpStream, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())
}

fn count_in(listed: &str) -> u64 {
    let mut words = listed.split_whitespace();
    words.find(|word| *word == "packets");
    words.next().unwrap().parse().unwrap()
}

fn serde_json(text: &str) -> ephyr_testkit::Value {
    text.parse().unwrap()
}
