//! Required system packages: checks for them, and installs them with apt if allowed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Options;
use crate::run::{self, Show, find_program};

/// A required program and its Debian package.
struct Requirement {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

/// For the demo and all tests with a target.
const TARGETS: &[Requirement] = &[
    Requirement {
        program: "sshd",
        package: "openssh-server",
        purpose: "the targets",
    },
    Requirement {
        program: "ssh",
        package: "openssh-client",
        purpose: "comparisons",
    },
    Requirement {
        program: "ssh-keygen",
        package: "openssh-client",
        purpose: "reading certificates",
    },
    Requirement {
        program: "unshare",
        package: "util-linux",
        purpose: "private accounts in a mount namespace",
    },
    Requirement {
        program: "nsenter",
        package: "util-linux",
        purpose: "private accounts in a mount namespace",
    },
    Requirement {
        program: "nft",
        package: "nftables",
        purpose: "the agents' firewall",
    },
    Requirement {
        program: "ip",
        package: "iproute2",
        purpose: "network namespaces of the firewall's tests",
    },
    Requirement {
        program: "visudo",
        package: "sudo",
        purpose: "the targets' sudo rules",
    },
    Requirement {
        program: "setpriv",
        package: "util-linux",
        purpose: "running the daemons as separate users",
    },
];

/// Login shells of targets, for the tests of which ones run sealed commands.
const SHELLS: [Requirement; 6] = [
    Requirement {
        program: "zsh",
        package: "zsh",
        purpose: "a target's login shell",
    },
    Requirement {
        program: "mksh",
        package: "mksh",
        purpose: "a target's login shell",
    },
    Requirement {
        program: "yash",
        package: "yash",
        purpose: "a target's login shell",
    },
    Requirement {
        program: "busybox",
        package: "busybox-static",
        purpose: "a target's login shell",
    },
    Requirement {
        program: "fish",
        package: "fish",
        purpose: "a target's login shell",
    },
    Requirement {
        program: "tcsh",
        package: "tcsh",
        purpose: "a target's login shell",
    },
];

/// For the official MCP clients.
const CLIENTS: [Requirement; 3] = [
    Requirement {
        program: "python3",
        package: "python3",
        purpose: "the Python MCP clients",
    },
    Requirement {
        program: "node",
        package: "nodejs",
        purpose: "the TypeScript MCP client",
    },
    Requirement {
        program: "npm",
        package: "npm",
        purpose: "the TypeScript MCP client",
    },
];

/// For the virtual machines.
const GUESTS: [Requirement; 9] = [
    Requirement {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        purpose: "the virtual machines",
    },
    Requirement {
        program: "qemu-img",
        package: "qemu-utils",
        purpose: "the machines' disks",
    },
    Requirement {
        program: "mmdebstrap",
        package: "mmdebstrap",
        purpose: "the machines' system",
    },
    Requirement {
        program: "busybox",
        package: "busybox-static",
        purpose: "the machines' initramfs",
    },
    Requirement {
        program: "mkfs.erofs",
        package: "erofs-utils",
        purpose: "the disk with the programs",
    },
    Requirement {
        program: "mke2fs",
        package: "e2fsprogs",
        purpose: "the machines' disks",
    },
    Requirement {
        program: "zstd",
        package: "zstd",
        purpose: "the machines' kernel",
    },
    Requirement {
        program: "xz",
        package: "xz-utils",
        purpose: "the machines' kernel modules",
    },
    Requirement {
        program: "python3",
        package: "python3",
        purpose: "the scenarios' driver",
    },
];

/// For checking the virtual machines' driver and scenarios.
const SCRIPTS: [Requirement; 3] = [
    Requirement {
        program: "python3",
        package: "python3",
        purpose: "the scenarios' driver",
    },
    Requirement {
        program: "mypy",
        package: "mypy",
        purpose: "the driver's types",
    },
    Requirement {
        program: "pyflakes3",
        package: "pyflakes3",
        purpose: "the driver's names",
    },
];

/// For the checks of the Nix files.
const NIX: [Requirement; 3] = [
    Requirement {
        program: "jq",
        package: "jq",
        purpose: "the scripts of the module's derivations",
    },
    Requirement {
        program: "nix-instantiate",
        package: "nix-bin",
        purpose: "parsing Nix files",
    },
    Requirement {
        program: "python3",
        package: "python3",
        purpose: "the script that checks Nix files",
    },
];

/// Packages that are too old in Debian 12 and are taken from its backports.
const BACKPORTED: [&str; 2] = ["qemu-system-x86", "qemu-utils"];

/// Installs packages without starting or enabling any service.
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
    # Uses the archive's backports for this installation only; the machine's sources stay unchanged.
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

/// Ensures that targets can run.
///
/// # Errors
/// A required program is missing and was not installed; the text names it.
pub(crate) fn for_targets(options: &Options) -> Result<(), String> {
    ensure(&missing(TARGETS), options)
}

/// Ensures that the login shells of targets are installed.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_shells(options: &Options) -> Result<(), String> {
    ensure(&missing(&SHELLS), options)
}

/// Ensures that the MCP clients can run.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_clients(options: &Options) -> Result<(), String> {
    ensure(&missing_clients(), options)
}

/// Ensures that virtual machines can be built and run.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_guests(options: &Options) -> Result<(), String> {
    ensure(&missing(&GUESTS), options)
}

/// Ensures that the virtual machines' driver and scenarios can be checked.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_scripts(options: &Options) -> Result<(), String> {
    ensure(&missing_scripts(), options)
}

/// Ensures that Nix files can be checked.
///
/// # Errors
/// As [`for_targets`].
pub(crate) fn for_nix(options: &Options) -> Result<(), String> {
    ensure(&missing(&NIX), options)
}

fn missing(needs: &'static [Requirement]) -> Vec<&'static Requirement> {
    needs
        .iter()
        .filter(|need| find_program(need.program).is_none())
        .collect()
}

fn missing_clients() -> Vec<&'static Requirement> {
    let mut needs = missing(&CLIENTS);
    if needs.iter().all(|need| need.program != "python3") && !has_venv() {
        needs.push(&Requirement {
            program: "python3 -m venv",
            package: "python3-venv",
            purpose: "the Python MCP clients",
        });
    }
    needs
}

fn missing_scripts() -> Vec<&'static Requirement> {
    let mut needs = missing(&SCRIPTS);
    if find_program("pyflakes").is_some() {
        needs.retain(|need| need.program != "pyflakes3");
    }
    needs
}

/// Returns whether Python can create virtual environments. Debian moves `ensurepip` to a separate package.
fn has_venv() -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", "import venv, ensurepip"]);
    run::run(&mut command, Show::No, Duration::from_secs(60)).is_ok_and(|done| done.ok)
}

fn ensure(needs: &[&'static Requirement], options: &Options) -> Result<(), String> {
    if needs.is_empty() {
        return Ok(());
    }
    let list = |text: fn(&Requirement) -> String| {
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

/// Installs packages, from `suite` if given. The error is apt's output.
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

/// Returns the backports suite of this release, if its own packages are too old.
fn backports() -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let old = release
        .lines()
        .any(|line| line == "VERSION_CODENAME=bookworm");
    old.then(|| "bookworm-backports".to_owned())
}

fn missing_again(needs: &[&'static Requirement]) -> Vec<&'static Requirement> {
    let single = |need: &&&'static Requirement| !need.program.contains(' ');
    needs
        .iter()
        .filter(single)
        .copied()
        .filter(|need| find_program(need.program).is_none())
        .collect()
}

/// Returns whether this process is root.
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
    fn no_install_names_missing_packages_and_installs_nothing() {
        let need: &'static Requirement = &Requirement {
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
