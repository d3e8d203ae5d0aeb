//! Judges for programs that are harmless with some arguments and dangerous with others.
//!
//! GNU programs accept options after other arguments, so open arguments can add any option unless `--` precedes them.
//! A judge therefore accepts open arguments only if no option of the program, after the fixed verb, writes a file,
//! runs a chosen program or loads code.

const PAGES: &str = "opens a pager, from which a shell can be started, unless --no-pager is given";
const UNITS: &str = "changes what systemd runs";
const CONTAINERS: &str = "starts containers, which can mount the host";
const RUNS: &str = "runs other programs";
const WRITES: &str = "writes files";

/// Options of systemd's clients that only change the output and take no value.
const DISPLAY: [&str; 8] = [
    "--no-pager",
    "--quiet",
    "-q",
    "--no-block",
    "--full",
    "-l",
    "--no-legend",
    "--all",
];

/// Short options of systemd's clients that take no value from the next argument.
const WITHOUT_VALUE: [&str; 7] = ["-a", "-b", "-e", "-f", "-k", "-r", "-x"];

/// Returns the arguments before `--`, which can be options.
fn options<'a>(fixed: &'a [&'a str]) -> &'a [&'a str] {
    let end = fixed.iter().position(|a| *a == "--");
    &fixed[..end.unwrap_or(fixed.len())]
}

/// Returns whether the next argument can be the value of this one.
fn takes_value(argument: &str) -> bool {
    argument.starts_with('-')
        && !argument.contains('=')
        && !DISPLAY.contains(&argument)
        && !WITHOUT_VALUE.contains(&argument)
}

/// Returns whether open arguments cannot be options, because an own argument `--` precedes them.
fn options_end(fixed: &[&str]) -> bool {
    let before = options(fixed);
    before.len() < fixed.len() && !before.last().is_some_and(|last| takes_value(last))
}

/// Returns whether `--no-pager` is given as an option, not as the value of another one (`-u --no-pager`).
fn no_pager(fixed: &[&str]) -> bool {
    let options = options(fixed);
    let given = |at: usize| options[at] == "--no-pager";
    (0..options.len()).any(|at| given(at) && (at == 0 || !takes_value(options[at - 1])))
}

/// Returns the first argument that is not a display option. After other options it is not the verb, because the value
/// of an option can look like one, as in `coredumpctl -D list debug`.
fn verb<'a>(fixed: &[&'a str]) -> Option<&'a str> {
    fixed.iter().copied().find(|a| !DISPLAY.contains(a))
}

/// systemctl(1). Open arguments are units and options and cannot change a fixed verb. With these verbs no option
/// writes a file or runs a chosen program; `--host` starts ssh(1) with the account's own keys. `systemctl status *`
/// needs no `--no-pager`: the pager requires a terminal, and a sealed command has none.
pub(super) fn systemctl(fixed: &[&str], open: bool) -> Option<&'static str> {
    const SHOWS: [&str; 3] = ["status", "show", "list-units"];
    const HARMLESS: [&str; 13] = [
        "start",
        "stop",
        "restart",
        "reload",
        "try-restart",
        "reload-or-restart",
        "status",
        "show",
        "is-active",
        "is-enabled",
        "is-failed",
        "list-units",
        "reset-failed",
    ];
    let verb = verb(fixed);
    let path = fixed.iter().any(|a| a.contains('/'));
    if !verb.is_some_and(|verb| HARMLESS.contains(&verb)) || path {
        return Some(UNITS);
    }
    let pages = !open && verb.is_some_and(|verb| SHOWS.contains(&verb));
    (pages && !no_pager(fixed)).then_some(PAGES)
}

/// journalctl(1) has no verb, so an open argument can be `--cursor-file=FILE`, `--vacuum-size=`, `--rotate` or
/// `--flush`.
pub(super) fn journalctl(fixed: &[&str], open: bool) -> Option<&'static str> {
    if open && !options_end(fixed) {
        return Some("can write files and delete journals by options");
    }
    (!no_pager(fixed)).then_some(PAGES)
}

/// The verbs of a systemd client that are known to be harmless.
struct Client {
    /// Read-only verbs, which open a pager unless `--no-pager` is given. No option makes them write a file or run a
    /// chosen program; see [`systemctl`] for `--host`.
    shows: &'static [&'static str],
    /// Verbs that open no pager and cannot start a root shell with fixed arguments.
    acts: &'static [&'static str],
    /// The danger with any other arguments.
    otherwise: &'static str,
}

impl Client {
    fn judge(&self, fixed: &[&str], open: bool) -> Option<&'static str> {
        let confined = verb(fixed).is_some_and(|verb| {
            (self.shows.contains(&verb) && no_pager(fixed)) || (!open && self.acts.contains(&verb))
        });
        (!confined).then_some(self.otherwise)
    }
}

/// bootctl(1).
pub(super) fn bootctl(fixed: &[&str], open: bool) -> Option<&'static str> {
    const CLIENT: Client = Client {
        shows: &["status", "list"],
        acts: &["is-installed"],
        otherwise: "writes files, opens a pager unless --no-pager and a verb that only shows are given",
    };
    CLIENT.judge(fixed, open)
}

/// coredumpctl(1): `debug` and `gdb` start the debugger that `--debugger=` names; `dump` writes a file.
pub(super) fn coredumpctl(fixed: &[&str], open: bool) -> Option<&'static str> {
    const CLIENT: Client = Client {
        shows: &["list", "info"],
        acts: &[],
        otherwise: "runs a debugger, writes files, opens a pager unless --no-pager and `list` or `info` are given",
    };
    CLIENT.judge(fixed, open)
}

/// loginctl(1).
pub(super) fn loginctl(fixed: &[&str], open: bool) -> Option<&'static str> {
    const CLIENT: Client = Client {
        shows: &[
            "list-sessions",
            "list-users",
            "list-seats",
            "session-status",
            "user-status",
            "seat-status",
            "show-session",
            "show-user",
            "show-seat",
        ],
        acts: &[
            "lock-session",
            "lock-sessions",
            "terminate-session",
            "terminate-user",
            "terminate-seat",
        ],
        otherwise: SETS,
    };
    CLIENT.judge(fixed, open)
}

/// networkctl(1): `edit` opens an editor.
pub(super) fn networkctl(fixed: &[&str], open: bool) -> Option<&'static str> {
    const CLIENT: Client = Client {
        shows: &["list", "status", "lldp", "cat"],
        acts: &["up", "down", "renew", "forcerenew", "reconfigure", "reload"],
        otherwise: "opens an editor, writes files, opens a pager unless --no-pager and a verb that only shows are \
                    given",
    };
    CLIENT.judge(fixed, open)
}

/// resolvectl(1).
pub(super) fn resolvectl(fixed: &[&str], open: bool) -> Option<&'static str> {
    const CLIENT: Client = Client {
        shows: &["status", "query", "statistics"],
        acts: &[
            "query",
            "flush-caches",
            "reset-statistics",
            "reset-server-features",
        ],
        otherwise: SETS,
    };
    CLIENT.judge(fixed, open)
}

/// systemd-resolve(1) has options instead of verbs (`--set-dns=`).
pub(super) fn systemd_resolve(fixed: &[&str], open: bool) -> Option<&'static str> {
    const HARMLESS: [&str; 4] = ["--no-pager", "--status", "--statistics", "--flush-caches"];
    let confined = !open && no_pager(fixed) && fixed.iter().all(|a| HARMLESS.contains(a));
    (!confined).then_some(SETS)
}

/// systemd-analyze(1): `verify` and `security` run generators, `unit-shell` starts a shell.
pub(super) fn systemd_analyze(fixed: &[&str], open: bool) -> Option<&'static str> {
    const CLIENT: Client = Client {
        shows: &[
            "time",
            "blame",
            "critical-chain",
            "dump",
            "unit-files",
            "unit-paths",
            "exit-status",
            "capability",
            "syscall-filter",
            "filesystems",
            "calendar",
            "timestamp",
            "timespan",
            "cat-config",
            "plot",
            "dot",
        ],
        acts: &["time", "calendar", "timestamp", "timespan", "plot", "dot"],
        otherwise: "runs other programs, opens a pager unless --no-pager and a verb that only shows are given",
    };
    CLIENT.judge(fixed, open)
}

/// timedatectl(1).
pub(super) fn timedatectl(fixed: &[&str], open: bool) -> Option<&'static str> {
    const CLIENT: Client = Client {
        shows: &[
            "status",
            "show",
            "list-timezones",
            "timesync-status",
            "show-timesync",
        ],
        acts: &["set-time", "set-timezone", "set-local-rtc", "set-ntp"],
        otherwise: SETS,
    };
    CLIENT.judge(fixed, open)
}

const SETS: &str =
    "changes system settings, opens a pager unless --no-pager and a verb that only shows are given";

/// busctl(1): `call` reaches every method of the service manager, and `--address=unixexec:…` is accepted anywhere
/// before `--`. A sudo list cannot contain the latter, because it cannot contain `:`.
pub(super) fn busctl(fixed: &[&str], open: bool) -> Option<&'static str> {
    const CLIENT: Client = Client {
        shows: &[
            "list",
            "status",
            "monitor",
            "capture",
            "tree",
            "introspect",
            "get-property",
        ],
        acts: &[],
        otherwise: "runs other programs (`call`, --address), opens a pager unless --no-pager and a verb that only \
                    shows are given",
    };
    if open && !options_end(fixed) {
        return Some(RUNS);
    }
    CLIENT.judge(fixed, open)
}

const CONTAINER_VERBS: [&str; 12] = [
    "ps", "logs", "inspect", "stats", "top", "version", "info", "images", "port", "restart",
    "start", "stop",
];

/// docker(1). Its global options (`--host`, `--config`) are accepted only before the verb.
pub(super) fn docker(fixed: &[&str], _: bool) -> Option<&'static str> {
    let verb = fixed.first();
    (!verb.is_some_and(|verb| CONTAINER_VERBS.contains(verb))).then_some(CONTAINERS)
}

/// podman(1) and nerdctl(1). Their global options are accepted after the verb too: podman's `--runtime` and
/// `--conmon` and nerdctl's `--cni-path` name programs to run.
pub(super) fn podman(fixed: &[&str], open: bool) -> Option<&'static str> {
    const NAMES_PROGRAMS: [&str; 6] = [
        "--runtime",
        "--conmon",
        "--hooks-dir",
        "--module",
        "--network-cmd-path",
        "--cni-path",
    ];
    let names_program = |a: &&str| NAMES_PROGRAMS.iter().any(|option| a.starts_with(option));
    if (open && !options_end(fixed)) || fixed.iter().any(names_program) {
        return Some("runs other programs (--runtime, --conmon, --cni-path), starts containers");
    }
    docker(fixed, open)
}

/// ip(8): `netns exec`, `vrf exec` and batches run programs. Options are accepted only before the object, and every
/// word can be abbreviated: `ip net e`, `ip v e`.
pub(super) fn ip(fixed: &[&str], open: bool) -> Option<&'static str> {
    let mut words = fixed.iter();
    let object = loop {
        let Some(word) = words.next() else { break None };
        let Some(option) = word.strip_prefix('-') else {
            break Some(*word);
        };
        let option = option.strip_prefix('-').unwrap_or(option);
        if "batch".starts_with(option) {
            return Some(RUNS);
        }
        let value = ["loops", "family", "netns"]
            .iter()
            .any(|name| name.starts_with(option))
            || (option.len() > 1 && "rcvbuf".starts_with(option));
        if value {
            words.next();
        }
    };
    let runs = match object {
        None => open,
        Some(object) if object.len() > 2 && "netns".starts_with(object) => true,
        Some(object) if !object.is_empty() && "vrf".starts_with(object) => {
            open || words.next().is_some_and(|verb| "exec".starts_with(verb))
        }
        Some(_) => false,
    };
    runs.then_some(RUNS)
}

/// git(1): configuration and aliases run programs. With these verbs, untrusted arguments cannot.
pub(super) fn git(fixed: &[&str], open: bool) -> Option<&'static str> {
    const HARMLESS: [&str; 5] = ["status", "rev-parse", "ls-files", "describe", "show-ref"];
    let confined = open && fixed.first().is_some_and(|verb| HARMLESS.contains(verb));
    (!confined).then_some("runs other programs, writes files, opens a pager")
}

/// Programs that are read-only without options and whose options write or set something.
pub(super) fn no_options(fixed: &[&str], open: bool) -> Option<&'static str> {
    (open || fixed.iter().any(|a| a.starts_with('-'))).then_some(WRITES)
}

/// sed(1): the commands `e`, `w` and `W`, and the flags of `s` with these letters, work without any option.
pub(super) fn sed(fixed: &[&str], open: bool) -> Option<&'static str> {
    let script = fixed
        .first()
        .is_some_and(|script| script.contains(['e', 'w', 'W']));
    let found = script || no_options(fixed, open).is_some();
    found.then_some("runs other programs, writes files")
}

/// date(1): `-f` reads a file and `-s` sets the clock, even after a `+` format.
pub(super) fn date(fixed: &[&str], open: bool) -> Option<&'static str> {
    let options = fixed.iter().any(|a| a.starts_with('-'));
    (open || options).then_some("reads files, changes system settings")
}

/// dmesg(1): `-H` opens a pager; long options can be abbreviated.
pub(super) fn dmesg(fixed: &[&str], open: bool) -> Option<&'static str> {
    let human = |a: &&str| {
        a.starts_with("--hu") || (a.starts_with('-') && !a.starts_with("--") && a.contains('H'))
    };
    (open || fixed.iter().any(human))
        .then_some("opens a pager, from which a shell can be started, if given -H")
}

/// dmsetup(8): `ls --exec`, which can be abbreviated.
pub(super) fn dmsetup(fixed: &[&str], open: bool) -> Option<&'static str> {
    (open || fixed.iter().any(|a| a.starts_with("--e"))).then_some(RUNS)
}

/// psql(1): without a statement among its arguments it opens a prompt with a shell escape; a file (`-f`) can use the
/// escape too.
pub(super) fn psql(fixed: &[&str], open: bool) -> Option<&'static str> {
    const FLAGS: &str = "01AEHSWXabeqnstwxz";
    let file = |a: &&str| {
        let cluster = a.strip_prefix('-').unwrap_or_default();
        let short = cluster.trim_start_matches(|c| FLAGS.contains(c));
        short.starts_with('f') || a.starts_with("--f")
    };
    let statement = ["-c", "-l", "--command", "--list"];
    prompt(fixed, open || fixed.iter().any(file), &statement)
}

/// mysql(1): as [`psql`]; `--plugin-dir` loads code, and `--defaults-file` can set that option.
pub(super) fn mysql(fixed: &[&str], open: bool) -> Option<&'static str> {
    let loads = |a: &&str| a.starts_with("--pl") || a.starts_with("--def");
    prompt(fixed, open || fixed.iter().any(loads), &["-e", "--execute"])
}

fn prompt(fixed: &[&str], open: bool, statement: &[&str]) -> Option<&'static str> {
    (open || !fixed.iter().any(|a| statement.contains(a))).then_some(PROMPT)
}

/// sqlite3(1): statements follow the name of the database. Only options known to take no value are accepted: `-init`
/// runs a file, and the value of another option would be mistaken for the database.
pub(super) fn sqlite(fixed: &[&str], open: bool) -> Option<&'static str> {
    const FLAGS: [&str; 14] = [
        "-batch",
        "-bail",
        "-readonly",
        "-safe",
        "-header",
        "-noheader",
        "-ascii",
        "-box",
        "-column",
        "-csv",
        "-json",
        "-line",
        "-list",
        "-table",
    ];
    let known =
        |a: &&str| FLAGS.contains(a) || a.strip_prefix('-').is_some_and(|a| FLAGS.contains(&a));
    let (options, words): (Vec<&str>, Vec<&str>) =
        fixed.iter().copied().partition(|a| a.starts_with('-'));
    let confined = !open && words.len() >= 2 && options.iter().all(known);
    (!confined).then_some(PROMPT)
}

const PROMPT: &str =
    "runs other programs from its prompt (`\\!`, `.shell`), reads and writes files";

/// Launchers that act on a running process if `-p` is one of their own options, which end at the first other
/// argument: `prlimit /bin/sh -p` starts a shell.
pub(super) fn pid(fixed: &[&str], open: bool) -> Option<&'static str> {
    let process = fixed
        .iter()
        .take_while(|a| a.starts_with('-') && **a != "--")
        .any(|a| *a == "-p" || a.starts_with("--pid"));
    (open || !process).then_some(RUNS)
}
