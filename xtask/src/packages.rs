//! What the machine must have: looked for, and installed with apt where that is allowed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Options;
use crate::run::{self, Show, find_program};

/// A program that is needed and the Debian package that has it.
struct Need {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

/// For the demo and for every test with a target.
const TARGETS: &[Need] = &[
    Need {
        program: "sshd",
        package: "openssh-server",
        purpose: "the targets",
    },
    Need {
        program: "ssh",
        package: "openssh-client",
        purpose: "to compare with",
    },
    Need {
        program: "ssh-keygen",
        package: "openssh-client",
        purpose: "to read certificates",
    },
    Need {
        program: "unshare",
        package: "util-linux",
        purpose: "a private view of the accounts",
    },
    Need {
        program: "nsenter",
        package: "util-linux",
        purpose: "a private view of the accounts",
    },
    Need {
        program: "nft",
        package: "nftables",
        purpose: "the agents' firewall",
    },
    Need {
        program: "ip",
        package: "iproute2",
        purpose: "networks for the firewall's tests",
    },
    Need {
        program: "visudo",
        package: "sudo",
        purpose: "the targets' sudo rules",
    },
    Need {
        program: "setpriv",
        package: "util-linux",
        purpose: "users of their own for the daemons",
    },
];

/// Login shells of targets, for the tests of which run sealed commands and which are refused.
const SHELLS: [Need; 6] = [
    Need {
        program: "zsh",
        package: "zsh",
        purpose: "a target's login shell",
    },
    Need {
        program: "mksh",
        package: "mksh",
        purpose: "a target's login shell",
    },
    Need {
        program: "yash",
        package: "yash",
        purpose: "a target's login shell",
    },
    Need {
        program: "busybox",
        package: "busybox-static",
        purpose: "a target's login shell",
    },
    Need {
        program: "fish",
        package: "fish",
        purpose: "a target's login shell",
    },
    Need {
        program: "tcsh",
        package: "tcsh",
        purpose: "a target's login shell",
    },
];

/// For the official MCP clients.
const CLIENTS: [Need; 3] = [
    Need {
        program: "python3",
        package: "python3",
        purpose: "the Python MCP clients",
    },
    Need {
        program: "node",
        package: "nodejs",
        purpose: "the TypeScript MCP client",
    },
    Need {
        program: "npm",
        package: "npm",
        purpose: "the TypeScript MCP client",
    },
];

/// For the virtual machines.
const GUESTS: [Need; 9] = [
    Need {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        purpose: "the machines",
    },
    Need {
        program: "qemu-img",
        package: "qemu-utils",
        purpose: "their disks",
    },
    Need {
        program: "mmdebstrap",
        package: "mmdebstrap",
        purpose: "their system",
    },
    Need {
        program: "busybox",
        package: "busybox-static",
        purpose: "their start",
    },
    Need {
        program: "mkfs.erofs",
        package: "erofs-utils",
        purpose: "a disk with the programs",
    },
    Need {
        program: "mke2fs",
        package: "e2fsprogs",
        purpose: "their disks",
    },
    Need {
        program: "zstd",
        package: "zstd",
        purpose: "their kernel",
    },
    Need {
        program: "xz",
        package: "xz-utils",
        purpose: "their kernel's modules",
    },
    Need {
        program: "python3",
        package: "python3",
        purpose: "their driver",
    },
];

/// For checking the driver and the scenarios.
const SCRIPTS: [Need; 3] = [
    Need {
        program: "python3",
        package: "python3",
        purpose: "the machines' driver",
    },
    Need {
        program: "mypy",
        package: "mypy",
        purpose: "its types",
    },
    Need {
        program: "pyflakes3",
        package: "pyflakes3",
        purpose: "its names",
    },
];

/// For the checks of the Nix files.
const NIX: [Need; 3] = [
    Need {
        program: "jq",
        package: "jq",
        purpose: "to build what the module builds",
    },
    Need {
        program: "nix-instantiate",
        package: "nix-bin",
        purpose: "to read Nix files",
    },
    Need {
        program: "python3",
        package: "python3",
        purpose: "the script that checks them",
    },
];

/// Packages that Debian 12 has too old, and its backports new enough.
const BACKPORTED: [&str; 2] = ["qemu-system-x86", "qemu-utils"];

/// Makes an installation and lets no service start or be enabled by it, whatever happens.
const INSTALL: &str = r#"
set -eu
guard=/usr/sbin/policy-rc.d
made=no
clean() { if [ "$made" = yes ]; then rm -f "$guard"; fi; }
trap clean EXIT
trap 'exit 130' INT TERM HUP
if [ ! -e "$guard" ]; then
    made=yes
    printf '#!/bin/sh\nexit 101\n' > "$guard"
    chmod 755 "$guard"
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
if [ -n "${EPHYR_BACKPORTS:-}" ]; then
    # The archive's own backports, for this installation alone: the machine's sources stay as they are.
    lists=$(mktemp -d)
    mkdir -p "$lists/parts" "$lists/lists/partial"
    archive=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | tr ' \t' '\n\n' | grep -m 1 '/debian/*$')
    echo "deb $archive $EPHYR_BACKPORTS main" > "$lists/parts/backports.list"
    cp /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list "$lists/parts" 2> /dev/null || true
    apt-get -o "Dir::Etc::sourceparts=$lists/parts" -o "Dir::State::lists=$lists/lists" update
    apt-get -o "Dir::Etc::sourceparts=$lists/parts" -o "Dir::State::lists=$lists/lists" \
        install -y --no-install-recommends -t "$EPHYR_BACKPORTS" "$@"
    rm -rf "$lists"
else
    apt-get install -y --no-install-recommends "$@" || {
        apt-get update
        apt-get install -y --no-install-recommends "$@"
    }
fi
for package; do
    if [ "$package" = openssh-server ] && command -v systemctl > /dev/null; then
        systemctl disable ssh.service ssh.socket 2> /dev/null || true
    fi
done
"#;

/// Installs the packages of all test stages at once.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_all_stages() -> Result<(), String> {
    let options = &Options::default();
    let mut needs = missing(TARGETS);
    needs.extend(missing(&SHELLS));
    needs.extend(missing(&GUESTS));
    needs.extend(missing_scripts());
    needs.extend(missing_clients());
    needs.extend(missing(&NIX));
    ensure(&needs, options)
}

/// Sees to it that targets can be run.
///
/// # Errors
/// Something is missing and was not installed; the text names it.
pub(crate) fn for_targets(options: &Options) -> Result<(), String> {
    ensure(&missing(TARGETS), options)
}

/// Sees to it that the login shells of targets are there.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_shells(options: &Options) -> Result<(), String> {
    ensure(&missing(&SHELLS), options)
}

/// Sees to it that the MCP clients can be run.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_clients(options: &Options) -> Result<(), String> {
    ensure(&missing_clients(), options)
}

/// Sees to it that virtual machines can be built and run.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_guests(options: &Options) -> Result<(), String> {
    ensure(&missing(&GUESTS), options)
}

/// Sees to it that the machines' driver and the scenarios can be checked.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_scripts(options: &Options) -> Result<(), String> {
    ensure(&missing_scripts(), options)
}

/// Sees to it that Nix files can be read.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_nix(options: &Options) -> Result<(), String> {
    ensure(&missing(&NIX), options)
}

fn missing(needs: &'static [Need]) -> Vec<&'static Need> {
    needs
        .iter()
        .filter(|need| find_program(need.program).is_none())
        .collect()
}

fn missing_clients() -> Vec<&'static Need> {
    let mut needs = missing(&CLIENTS);
    if needs.iter().all(|need| need.program != "python3") && !has_venv() {
        needs.push(&Need {
            program: "python3 -m venv",
            package: "python3-venv",
            purpose: "the Python MCP clients",
        });
    }
    needs
}

fn missing_scripts() -> Vec<&'static Need> {
    let mut needs = missing(&SCRIPTS);
    if find_program("pyflakes").is_some() {
        needs.retain(|need| need.program != "pyflakes3");
    }
    needs
}

/// Debian takes pip's bootstrap out of Python and puts it into a package of its own.
fn has_venv() -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", "import venv, ensurepip"]);
    run::run(&mut command, Show::No, Duration::from_secs(60)).is_ok_and(|done| done.ok)
}

fn ensure(needs: &[&'static Need], options: &Options) -> Result<(), String> {
    if needs.is_empty() {
        return Ok(());
    }
    let list = |text: fn(&Need) -> String| {
        let mut items: Vec<String> = needs.iter().map(|need| text(need)).collect();
        items.sort();
        items.dedup();
        items
    };
    let what = list(|need| format!("{} (for {})", need.program, need.purpose)).join(", ");
    let packages = list(|need| need.package.to_owned());
    let advice = format!(
        "missing: {what}; on Debian: apt-get install {}",
        packages.join(" ")
    );
    if options.no_install {
        return Err(advice);
    }
    let debian = Path::new("/etc/debian_version").exists() && find_program("apt-get").is_some();
    if !debian || !is_root() {
        return Err(advice);
    }
    run::say(&format!(
        "installing {} with apt-get (needed: {what}); no service is started or enabled",
        packages.join(" ")
    ));
    let backports = backports();
    let (late, own): (Vec<&str>, Vec<&str>) = packages
        .iter()
        .map(String::as_str)
        .partition(|package| backports.is_some() && BACKPORTED.contains(package));
    for (packages, suite) in [(own, None), (late, backports.as_deref())] {
        if !packages.is_empty() {
            install(&packages, suite).map_err(|output| format!("{output}\n{advice}"))?;
        }
    }
    let still: Vec<&str> = missing_again(needs)
        .into_iter()
        .map(|need| need.program)
        .collect();
    if still.is_empty() {
        Ok(())
    } else {
        Err(format!("still missing after apt-get: {}", still.join(", ")))
    }
}

/// Installs packages, from `suite` where one is named; the error is what apt said.
fn install(packages: &[&str], suite: Option<&str>) -> Result<(), String> {
    let mut command = Command::new("sh");
    command
        .args(["-c", INSTALL, "ephyr-install"])
        .args(packages)
        .env("EPHYR_BACKPORTS", suite.unwrap_or_default());
    let done = run::run(&mut command, Show::No, Duration::from_secs(900))?;
    if done.ok {
        Ok(())
    } else {
        Err(done.output.trim_end().to_owned())
    }
}

/// The name of this release's backports, where its own packages are too old.
fn backports() -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let old = release
        .lines()
        .any(|line| line == "VERSION_CODENAME=bookworm");
    old.then(|| "bookworm-backports".to_owned())
}

fn missing_again(needs: &[&'static Need]) -> Vec<&'static Need> {
    let single = |need: &&&'static Need| !need.program.contains(' ');
    needs
        .iter()
        .filter(single)
        .copied()
        .filter(|need| find_program(need.program).is_none())
        .collect()
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    let mut command = Command::new("id");
    command.arg("-u");
    run::run(&mut command, Show::No, Duration::from_secs(10))
        .is_ok_and(|done| done.output.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_and_not_installed_against_the_users_word() {
        let need: &'static Need = &Need {
            program: "no-such-program",
            package: "no-such-package",
            purpose: "nothing",
        };
        let options = Options {
            no_install: true,
            ..Options::default()
        };
        assert_eq!(
            ensure(&[need], &options).unwrap_err(),
            "missing: no-such-program (for nothing); on Debian: apt-get install no-such-package"
        );
    }
}
