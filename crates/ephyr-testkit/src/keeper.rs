//! The keeper: a shell process in the world's mount namespace. When its standard input closes, because
//! the world was dropped or the test process died, it kills the remaining processes and removes the
//! world's directory.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::accounts::{Account, Footing};
use crate::error::{Context as _, Error, Result};

/// `PATH` of the keeper and of every process in the world.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Prepares the namespace, prints `ready`, then reads `+PID` and `-PID` lines until the input ends.
const SCRIPT: &str = r#"
set -eu
dir=$1 private=$2 state_owner=$3 pids=
if [ "$private" = yes ]; then
    for file in passwd group shadow; do
        if [ -e "/etc/$file" ]; then mount --bind "$dir/etc/$file" "/etc/$file"; fi
    done
    if [ ! -d /run/sshd ]; then
        mount -t tmpfs -o mode=755 ephyr-run /run
        mkdir -m 755 /run/sshd
    fi
    mount -t tmpfs -o "mode=700,$state_owner,size=256m" ephyr-state "$dir/state"
    shift 3
    for program; do
        : > "$dir/bin/${program##*/}"
        mount --bind "$program" "$dir/bin/${program##*/}"
    done
    # A glob pattern for find, which would read the brackets as a character class.
    namespace=$(readlink /proc/self/ns/mnt | tr '[]' '??')
elif [ "$(id -u)" = 0 ]; then
    # The privilege separation directory of sshd, usually created by its service. Not removed at the
    # end: other worlds may use it.
    mkdir -p -m 755 /run/sshd
fi
echo ready
while read -r line; do
    case $line in
        +*) pids="$pids ${line#+} " ;;
        -*) pid=${line#-}; pids="${pids%% $pid *} ${pids#* $pid }" ;;
    esac
done
set +e
for pid in $pids; do kill -9 "$pid"; done 2>/dev/null
if [ "$private" = yes ]; then
    while :; do
        left=0
        for path in $(find /proc/[0-9]*/ns/mnt -maxdepth 0 -lname "$namespace" 2>/dev/null); do
            pid=${path#/proc/}; pid=${pid%%/*}
            [ "$pid" = $$ ] && continue
            kill -9 "$pid" 2>/dev/null && left=1
        done
        [ "$left" = 0 ] && break
    done
    umount "$dir"/bin/* "$dir/state" 2>/dev/null
fi
rm -rf --one-file-system "$dir"
"#;

/// Holds the world's namespace and its list of processes.
pub(crate) struct Keeper {
    footing: Footing,
    child: Child,
    processes: ProcessList,
}

/// The processes that the keeper kills when the world ends.
#[derive(Clone)]
pub(crate) struct ProcessList(Arc<Mutex<Option<ChildStdin>>>);

impl ProcessList {
    /// Adds a process.
    pub(crate) fn add(&self, pid: u32) {
        self.write(&format!("+{pid}\n"));
    }

    /// Removes a process that has been reaped, because its id may be reused.
    pub(crate) fn remove(&self, pid: u32) {
        self.write(&format!("-{pid}\n"));
    }

    fn write(&self, line: &str) {
        if let Some(pipe) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Fails only if the keeper has died, and then there is no list to update.
            let _ = pipe.write_all(line.as_bytes());
        }
    }
}

impl Keeper {
    /// Detects the footing that this machine allows.
    pub(crate) fn footing() -> Footing {
        if !rustix::process::geteuid().is_root() {
            return Footing::Plain;
        }
        let probe = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match probe {
            Ok(status) if status.success() => Footing::Private,
            _ => Footing::Numeric,
        }
    }

    /// Starts the keeper of the world in `dir`. In a private namespace, each of `programs` is mounted at
    /// `dir/bin/<name>`, executable for every user even if its real directory is not accessible; and
    /// `dir/state` is a tmpfs owned by the broker, because its secrets must not reach a disk.
    pub(crate) fn start(
        footing: Footing,
        dir: &Path,
        broker: &Account,
        programs: &[PathBuf],
    ) -> Result<Self> {
        let private = footing == Footing::Private;
        let mut command = if private {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        command
            .args(["-c", SCRIPT, "ephyr-keeper"])
            .arg(dir)
            .arg(if private { "yes" } else { "no" })
            .arg(format!("uid={},gid={}", broker.uid, broker.gid))
            .args(programs)
            .env("PATH", PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .current_dir("/")
            .process_group(0);
        let mut child = command
            .spawn()
            .context(|| "starting the keeper (needs sh, and unshare from util-linux)".into())?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut line)
                .context(|| "waiting for the keeper".into())?;
        }
        let processes = ProcessList(Arc::new(Mutex::new(child.stdin.take())));
        let keeper = Self {
            footing,
            child,
            processes,
        };
        if line.trim_end() == "ready" {
            Ok(keeper)
        } else {
            Err(Error::new(
                "the keeper could not set up the mount namespace (see its errors above)",
            ))
        }
    }

    /// Returns a path that reaches `path` of the world from outside its mount namespace.
    pub(crate) fn outside_path(&self, path: &Path) -> PathBuf {
        if self.footing == Footing::Private {
            let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
            root.join(path.strip_prefix("/").unwrap_or(path))
        } else {
            path.to_owned()
        }
    }

    pub(crate) fn processes(&self) -> ProcessList {
        self.processes.clone()
    }

    /// A command that runs in the world as `user`, or as the test's own user if that is `None`.
    pub(crate) fn command(&self, program: &Path, user: Option<&Account>) -> Command {
        let mut words: Vec<String> = Vec::new();
        if self.footing == Footing::Private {
            words.push("nsenter".into());
            words.push(format!("--mount=/proc/{}/ns/mnt", self.child.id()));
        }
        if let Some(user) = user.filter(|_| self.footing != Footing::Plain) {
            words.extend(["setpriv".into(), format!("--reuid={}", user.uid)]);
            words.push(format!("--regid={}", user.gid));
            if user.groups.is_empty() {
                words.push("--clear-groups".into());
            } else {
                let groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
                words.push(format!("--groups={}", groups.join(",")));
            }
        }
        let mut command = match words.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .env("RUST_BACKTRACE", "1")
            .current_dir("/")
            .process_group(0);
        command
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Closing the pipe tells the keeper to clean up.
        drop(
            self.processes
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let _ = self.child.wait();
    }
}
