//! Programs that are harmless with some arguments and not with others.

const PAGES: &str = "opens a pager, from which a shell can be started, unless --no-pager is given";
const UNITS: &str = "changes what systemd runs";
const CONTAINERS: &str = "starts containers, which can mount the host";
const RUNS: &str = "runs other programs";
const WRITES: &str = "writes files";

/// systemctl(1). A fixed verb cannot become another one; open words are then units and options, and a pager
/// needs a terminal, which a sealed command does not have.
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
    let safe_option = |a: &&&str| {
        matches!(
            **a,
            "--no-pager" | "--quiet" | "-q" | "--no-block" | "--full" | "-l"
        )
    };
    let verb = fixed.iter().find(|a| !safe_option(a));
    let path = fixed.iter().any(|a| a.contains('/'));
    if !verb.is_some_and(|verb| HARMLESS.contains(verb)) || path {
        return Some(UNITS);
    }
    let pages = !open && verb.is_some_and(|verb| SHOWS.contains(verb));
    (pages && !fixed.contains(&"--no-pager")).then_some(PAGES)
}

/// journalctl(1).
pub(super) fn journalctl(fixed: &[&str], _: bool) -> Option<&'static str> {
    (!fixed.contains(&"--no-pager")).then_some(PAGES)
}

/// The other clients of systemd: listings go through a pager.
pub(super) fn shows(fixed: &[&str], open: bool) -> Option<&'static str> {
    let verb = fixed.iter().find(|a| !a.starts_with('-'));
    let shows = verb.is_none_or(|verb| {
        ["list", "show", "cat", "tree", "introspect", "info", "dump"]
            .iter()
            .any(|start| verb.starts_with(start))
            || verb.ends_with("status")
            || matches!(*verb, "blame" | "critical-chain" | "timesync-status")
    });
    ((open || shows) && !fixed.contains(&"--no-pager")).then_some(PAGES)
}

/// busctl(1): `--address=unixexec:…` may be anywhere among its arguments. A sudo list cannot contain it,
/// since `=` is not allowed there.
pub(super) fn busctl(fixed: &[&str], open: bool) -> Option<&'static str> {
    if open { Some(RUNS) } else { shows(fixed, open) }
}

/// docker(1) and similar programs.
pub(super) fn containers(fixed: &[&str], _: bool) -> Option<&'static str> {
    const HARMLESS: [&str; 12] = [
        "ps", "logs", "inspect", "stats", "top", "version", "info", "images", "port", "restart",
        "start", "stop",
    ];
    let verb = fixed.first();
    (!verb.is_some_and(|verb| HARMLESS.contains(verb))).then_some(CONTAINERS)
}

/// ip(8): `netns exec`, `vrf exec` and batches. Options count only before the object.
pub(super) fn ip(fixed: &[&str], open: bool) -> Option<&'static str> {
    let runs = fixed
        .iter()
        .any(|a| matches!(*a, "exec" | "netns") || a.starts_with("-b") || a.starts_with("--b"));
    let object = fixed.iter().find(|a| !a.starts_with('-'));
    let undecided = object.is_none_or(|object| *object == "vrf");
    (runs || (open && undecided)).then_some(RUNS)
}

/// git(1): configuration and aliases run programs; these verbs run none with arguments of others.
pub(super) fn git(fixed: &[&str], open: bool) -> Option<&'static str> {
    const HARMLESS: [&str; 5] = ["status", "rev-parse", "ls-files", "describe", "show-ref"];
    let confined = open && fixed.first().is_some_and(|verb| HARMLESS.contains(verb));
    (!confined).then_some("runs other programs, writes files, opens a pager")
}

/// Programs that only print without options, and write or set something with some.
pub(super) fn no_options(fixed: &[&str], open: bool) -> Option<&'static str> {
    (open || fixed.iter().any(|a| a.starts_with('-'))).then_some(WRITES)
}

/// sed(1): its commands `e` and `w` need no option.
pub(super) fn sed(fixed: &[&str], open: bool) -> Option<&'static str> {
    let options = no_options(fixed, open);
    options.map(|_| "runs other programs, writes files")
}

/// date(1): `-f` reads a file, `-s` sets the clock; an argument that begins with `+` is a format.
pub(super) fn date(fixed: &[&str], open: bool) -> Option<&'static str> {
    let form = fixed.iter().any(|a| a.starts_with('+'));
    let options = fixed.iter().any(|a| a.starts_with('-'));
    ((open && !form) || options).then_some("reads files, changes system settings")
}

/// dmesg(1): `-H` opens a pager.
pub(super) fn dmesg(fixed: &[&str], open: bool) -> Option<&'static str> {
    let human = |a: &&str| {
        *a == "--human" || (a.starts_with('-') && !a.starts_with("--") && a.contains('H'))
    };
    (open || fixed.iter().any(human))
        .then_some("opens a pager, from which a shell can be started, if given -H")
}

/// dmsetup(8): `ls --exec`.
pub(super) fn dmsetup(fixed: &[&str], open: bool) -> Option<&'static str> {
    (open || fixed.iter().any(|a| a.starts_with("--exec"))).then_some(RUNS)
}

/// psql(1): without a statement in its arguments it is a prompt with a shell escape.
pub(super) fn psql(fixed: &[&str], open: bool) -> Option<&'static str> {
    let statement = ["-c", "-l", "--command", "--list"];
    prompt(fixed, open, &statement)
}

/// mysql(1): the same.
pub(super) fn mysql(fixed: &[&str], open: bool) -> Option<&'static str> {
    prompt(fixed, open, &["-e", "--execute"])
}

fn prompt(fixed: &[&str], open: bool, statement: &[&str]) -> Option<&'static str> {
    (open || !fixed.iter().any(|a| statement.contains(a))).then_some(PROMPT)
}

/// sqlite3(1): statements follow the name of the database.
pub(super) fn sqlite(fixed: &[&str], open: bool) -> Option<&'static str> {
    (open || fixed.iter().filter(|a| !a.starts_with('-')).count() < 2).then_some(PROMPT)
}

const PROMPT: &str =
    "runs other programs from its prompt (`\\!`, `.shell`), reads and writes files";

/// Launchers that act on a running process with `-p`.
pub(super) fn pid(fixed: &[&str], open: bool) -> Option<&'static str> {
    let process = |a: &&str| *a == "-p" || a.starts_with("--pid");
    (open || !fixed.iter().any(process)).then_some(RUNS)
}
