//! Checks the commands of a role's `sudo` list.
//!
//! sudo runs a listed command with exactly the listed arguments. That is still equivalent to root if the program runs
//! other programs, opens an editor or a pager, writes files of the caller's choice or changes permissions. The table
//! in `programs` lists the programs known to do so.

use crate::programs;
use crate::text::{TextFault, shorten};

/// Checks that a command is an absolute path with plain arguments, without anything that sudoers would expand.
pub(crate) fn check(text: &str) -> Result<(), TextFault> {
    if text.is_empty() || text.trim() != text {
        let message = "a command must not be empty or begin or end with a space";
        return Err(("E-SUDO-CHARACTERS", message.into()));
    }
    if text.eq_ignore_ascii_case("all") {
        let message =
            "ALL means every command; write `sudo: true` with `allow_root_equivalent: true`";
        return Err(("E-SUDO-PATH", message.into()));
    }
    let program = text.split(' ').next().unwrap_or_default();
    if !program.starts_with('/') || program.ends_with('/') {
        let message = format!(
            "`{}` is not the absolute path of a program, such as /usr/bin/systemctl",
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
            "{found:?} is special to sudoers or a shell; use letters, digits, spaces and /._-+@%"
        );
        return Err(("E-SUDO-CHARACTERS", message));
    }
    if text.contains("  ") {
        return Err(("E-SUDO-CHARACTERS", "write one space between words".into()));
    }
    Ok(())
}

/// Returns why the command is equivalent to root, if it is known to be.
pub(crate) fn root_equivalent(command: &str) -> Option<String> {
    let mut words = command.split(' ');
    let program = programs::find(words.next().unwrap_or_default())?;
    program.as_root(&words.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_equivalent_commands_are_found_under_any_path_or_version() {
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
            "/lib64/ld-linux-x86-64.so.2 /tmp/x",
            "/usr/bin/prlimit --nofile /bin/sh",
            "/usr/sbin/ip vrf exec a b",
            "/usr/bin/mysql",
            "/usr/bin/psql -d app",
            "/usr/bin/sqlite3 /var/lib/app.db",
            "/usr/bin/loginctl user-status 1000",
            "/usr/bin/busctl tree",
            "/usr/bin/dmesg -H",
            "/usr/bin/python3",
        ] {
            assert!(root_equivalent(command).is_some(), "{command}");
        }
    }

    #[test]
    fn ordinary_operations_are_accepted() {
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
            "/usr/bin/prlimit --pid 1",
            "/usr/bin/mysql -e STATUS",
            "/usr/bin/loginctl terminate-user 1000",
            "/usr/bin/busctl --no-pager tree",
            "/usr/bin/dmesg",
            "/usr/sbin/nginx -t",
            "/usr/bin/certbot renew",
        ] {
            assert_eq!(check(command), Ok(()), "{command}");
            assert_eq!(root_equivalent(command), None, "{command}");
        }
    }

    #[test]
    fn commands_that_sudoers_would_expand_are_refused() {
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
