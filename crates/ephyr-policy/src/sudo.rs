//! What may stand in a role's sudo list: commands that are no way to a root shell.
//!
//! sudo runs a listed command with exactly the arguments listed. That still is as good as root where the
//! program runs other programs, opens an editor or a pager, writes files of the caller's choice or changes
//! who may do what. The list here is of programs known to do so; it cannot be complete, so it is a net
//! below the operator's own judgement, not a replacement for it.

use crate::format::{Wrong, shorten};

/// The form of an entry: an absolute path and plain arguments, nothing that sudoers would expand.
pub(crate) fn check(text: &str) -> Result<(), Wrong> {
    if text.is_empty() || text.trim() != text {
        let message = "a command must not be empty, nor begin or end with a space";
        return Err(("E-SUDO-CHARACTERS", message.into()));
    }
    if text.eq_ignore_ascii_case("all") {
        let message = "ALL is every command; write `sudo: true` with `allow_root_equivalent: true`";
        return Err(("E-SUDO-PATH", message.into()));
    }
    let program = text.split(' ').next().unwrap_or_default();
    if !program.starts_with('/') || program.ends_with('/') {
        let message = format!(
            "`{}` is not a program's absolute path, as in /usr/bin/systemctl",
            shorten(program)
        );
        return Err(("E-SUDO-PATH", message));
    }
    if program.split('/').any(|part| matches!(part, "." | "..")) || program.contains("//") {
        let message = format!(
            "`{}` must be written without `.`, `..` and `//`",
            shorten(program)
        );
        return Err(("E-SUDO-PATH", message));
    }
    let plain = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(b, b' ' | b'/' | b'.' | b'_' | b'-' | b'+' | b'@' | b'%')
    };
    if let Some(found) = text.chars().find(|c| !u8::try_from(*c).is_ok_and(plain)) {
        let message = format!(
            "{found:?} means something to sudoers or a shell; use letters, digits, spaces and /._-+@%"
        );
        return Err(("E-SUDO-CHARACTERS", message));
    }
    if text.contains("  ") {
        return Err(("E-SUDO-CHARACTERS", "write one space between words".into()));
    }
    Ok(())
}

/// Why the command is as good as root, if it is known to be.
pub(crate) fn root_equivalent(command: &str) -> Option<&'static str> {
    let mut words = command.split(' ');
    let path = words.next().unwrap_or_default();
    let program = program_name(path);
    let arguments: Vec<&str> = words.collect();
    if let Some((_, why)) = KNOWN.iter().find(|(names, _)| names.contains(&program)) {
        return Some(why);
    }
    if program.starts_with("mkfs") {
        return Some(WRITES);
    }
    match program {
        "systemctl" => systemctl(&arguments),
        "docker" | "podman" | "nerdctl" => containers(&arguments),
        "journalctl" if !arguments.contains(&"--no-pager") => Some(PAGES),
        "ip" if arguments.iter().any(|a| matches!(*a, "exec" | "netns")) => Some(RUNS),
        "ip" if arguments
            .iter()
            .any(|a| a.starts_with("-b") || a.starts_with("--b")) =>
        {
            Some(RUNS)
        }
        "sed" | "date" | "file" if arguments.iter().any(|a| a.starts_with('-')) => Some(WRITES),
        _ => None,
    }
}

/// Whether the program runs what its arguments name, so that leaving these open confines nothing.
pub(crate) fn runs_programs(path: &str) -> bool {
    let program = program_name(path);
    let known = KNOWN.iter().find(|(names, _)| names.contains(&program));
    known.is_some_and(|(_, why)| matches!(*why, SHELL | EDITOR | RUNS))
        || matches!(
            program,
            "sudo" | "su" | "doas" | "docker" | "podman" | "nerdctl"
        )
}

/// The program's name without directory, version and variant: `/usr/bin/python3.11` is `python`.
fn program_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    stem.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-')
}

fn systemctl(arguments: &[&str]) -> Option<&'static str> {
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
    let verb = arguments.iter().find(|a| !safe_option(a));
    let path = arguments.iter().any(|a| a.contains('/'));
    if !verb.is_some_and(|verb| HARMLESS.contains(verb)) || path {
        return Some("changes what systemd runs as root");
    }
    let pages = verb.is_some_and(|verb| SHOWS.contains(verb));
    (pages && !arguments.contains(&"--no-pager")).then_some(PAGES)
}

fn containers(arguments: &[&str]) -> Option<&'static str> {
    const HARMLESS: [&str; 12] = [
        "ps", "logs", "inspect", "stats", "top", "version", "info", "images", "port", "restart",
        "start", "stop",
    ];
    if arguments
        .first()
        .is_some_and(|verb| HARMLESS.contains(verb))
    {
        None
    } else {
        Some("a container started as root can mount the host")
    }
}

const SHELL: &str = "is or starts a shell";
const EDITOR: &str = "an editor or pager, from which a shell can be started";
const PAGES: &str = "opens a pager, from which a shell can be started; add --no-pager";
const RUNS: &str = "runs any program as root";
const WRITES: &str = "writes or replaces any file as root";
const RIGHTS: &str = "changes who may do what";
const INSTALLS: &str = "runs the scripts of what it installs as root";

/// Programs that are as good as root with whatever arguments.
static KNOWN: &[(&[&str], &str)] = &[
    (
        &[
            "sh", "bash", "rbash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh",
            "pwsh", "busybox", "toybox", "screen", "tmux", "script",
        ],
        SHELL,
    ),
    (
        &[
            "vi", "vim", "view", "vimdiff", "nvim", "rvim", "nano", "rnano", "pico", "emacs", "ed",
            "ex", "joe", "mcedit", "mc", "less", "more", "most", "man", "pg", "sudoedit",
        ],
        EDITOR,
    ),
    (
        &[
            "python",
            "perl",
            "ruby",
            "node",
            "nodejs",
            "lua",
            "luajit",
            "php",
            "tclsh",
            "expect",
            "awk",
            "gawk",
            "mawk",
            "nawk",
            "guile",
            "java",
            "deno",
            "bun",
            "irb",
            "gdb",
            "find",
            "xargs",
            "parallel",
            "env",
            "nice",
            "ionice",
            "nohup",
            "timeout",
            "time",
            "watch",
            "strace",
            "ltrace",
            "setsid",
            "setarch",
            "stdbuf",
            "taskset",
            "flock",
            "chroot",
            "nsenter",
            "unshare",
            "capsh",
            "setpriv",
            "systemd-run",
            "run-parts",
            "start-stop-daemon",
            "at",
            "batch",
            "crontab",
            "make",
            "git",
            "ssh",
            "scp",
            "sftp",
            "socat",
            "nc",
            "ncat",
            "netcat",
            "nmap",
            "tcpdump",
            "openssl",
            "rsync",
            "kubectl",
            "ctr",
            "crictl",
            "runc",
            "lxc",
            "virsh",
            "machinectl",
            "modprobe",
            "insmod",
            "kexec",
            "ldconfig",
            "logrotate",
            "service",
            "iptables",
            "nft",
            "ansible",
            "ansible-playbook",
        ],
        RUNS,
    ),
    (
        &[
            "tee", "dd", "cp", "mv", "install", "ln", "tar", "cpio", "zip", "unzip", "ar", "patch",
            "mount", "umount", "losetup", "truncate", "shred", "wget", "curl", "sysctl", "debugfs",
            "fdisk", "parted", "rm",
        ],
        WRITES,
    ),
    (
        &[
            "su",
            "sudo",
            "doas",
            "runuser",
            "pkexec",
            "visudo",
            "vipw",
            "vigr",
            "passwd",
            "chpasswd",
            "useradd",
            "usermod",
            "userdel",
            "adduser",
            "groupadd",
            "groupmod",
            "gpasswd",
            "addgroup",
            "chsh",
            "chown",
            "chgrp",
            "chmod",
            "chattr",
            "setfacl",
            "setcap",
            "update-alternatives",
        ],
        RIGHTS,
    ),
    (
        &[
            "apt",
            "apt-get",
            "aptitude",
            "dpkg",
            "yum",
            "dnf",
            "rpm",
            "zypper",
            "apk",
            "pacman",
            "snap",
            "flatpak",
            "pip",
            "pipx",
            "npm",
            "npx",
            "yarn",
            "pnpm",
            "gem",
            "cargo",
            "go",
            "nix",
            "nix-env",
            "nixos-rebuild",
            "easy_install",
            "conda",
        ],
        INSTALLS,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_ways_to_root_are_found_under_any_path_and_version() {
        for command in [
            "/bin/bash",
            "/usr/bin/python3.11 /opt/x.py",
            "/usr/bin/vim.basic /etc/hosts",
            "/usr/bin/find / -name x",
            "/usr/bin/docker run alpine",
            "/usr/bin/docker --host x ps",
            "/usr/bin/systemctl edit nginx",
            "/usr/bin/systemctl",
            "/usr/bin/systemctl link /tmp/x.service",
            "/usr/bin/systemctl start /tmp/x.service",
            "/usr/bin/systemctl --root x start nginx",
            "/usr/bin/journalctl -u nginx",
            "/usr/bin/systemctl status nginx",
            "/usr/bin/systemctl show nginx",
            "/usr/bin/systemctl -l list-units",
            "/usr/sbin/ip netns exec a b",
            "/usr/sbin/ip -batch /tmp/x",
            "/usr/bin/mount /dev/sda1 /mnt",
            "/usr/sbin/mkfs.ext4 /dev/sda1",
            "/usr/bin/apt-get install x",
        ] {
            assert!(root_equivalent(command).is_some(), "{command}");
        }
    }

    #[test]
    fn ordinary_operations_are_left_alone() {
        for command in [
            "/usr/bin/systemctl restart nginx",
            "/usr/bin/systemctl --no-pager status nginx",
            "/usr/bin/systemctl show --no-pager nginx",
            "/usr/bin/systemctl is-active nginx",
            "/usr/bin/docker logs web",
            "/usr/bin/journalctl --no-pager -u nginx",
            "/usr/sbin/ip addr show",
            "/usr/bin/cat /var/log/syslog",
            "/usr/bin/df -h",
        ] {
            assert_eq!(check(command), Ok(()), "{command}");
            assert_eq!(root_equivalent(command), None, "{command}");
        }
    }

    #[test]
    fn what_sudoers_would_expand_is_refused() {
        for bad in [
            "",
            "ALL",
            "systemctl restart nginx",
            "/usr/bin/",
            "/usr/bin/../bin/sh",
            "/usr//bin/ls",
            "/bin/ls *",
            "/bin/ls !x",
            "/bin/ls a,/bin/sh",
            "/bin/ls a:b",
            "/bin/ls a=b",
            "/bin/ls \\x",
            "/bin/ls #x",
            "/bin/ls\n/bin/sh",
            "/bin/ls  x",
            "/bin/ls ",
            "!/bin/ls",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
