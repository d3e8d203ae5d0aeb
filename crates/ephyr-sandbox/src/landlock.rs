//! Landlock: restricts the process's access to files and the network.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope, make_bitflags,
};

use crate::{SandboxError, threads};

/// The newest ABI known here. Rights added by newer kernels are not restricted.
const NEWEST: ABI = ABI::V10;

/// The access that the process keeps from [`Confinement::apply`] on. Everything else is denied: reading, writing,
/// creating, removing, renaming and executing files, as far as the kernel's ABI supports it.
///
/// Files that are already open stay usable. Rules bind to the files found when they are applied: for a file that will be
/// replaced by rename, list its directory.
#[derive(Debug, Clone)]
pub struct Confinement {
    rules: Vec<PathRule>,
    network: Network,
    minimum_abi: u32,
}

#[derive(Debug, Clone)]
struct PathRule {
    path: PathBuf,
    access: BitFlags<AccessFs>,
    optional: bool,
}

/// The network access that the process keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// No TCP (ABI 4), no UDP (ABI 10).
    Nothing,
    /// TCP on these ports only (ABI 4), no UDP (ABI 10).
    Tcp {
        /// Ports that can be bound.
        bind: Vec<u16>,
        /// Ports that can be connected to.
        connect: Vec<u16>,
    },
    /// No restriction by Landlock.
    Any,
}

/// A restriction that Landlock enforces on the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Files (ABI 1).
    Files,
    /// Truncation of files (ABI 3).
    Truncate,
    /// TCP ports (ABI 4).
    Tcp,
    /// ioctl on devices (ABI 5).
    Ioctl,
    /// No signals to, and no abstract Unix sockets of, processes outside (ABI 6).
    Scopes,
    /// Connecting to Unix sockets by path (ABI 9).
    UnixConnect,
    /// UDP ports (ABI 10).
    Udp,
}

/// The result of [`Confinement::apply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandlockReport {
    /// The ABI in force; 0 without Landlock.
    pub abi: u32,
    /// The restrictions in force.
    pub enforced: Vec<Feature>,
}

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});
const EXECUTE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir | Execute});
/// All rights on files except creating device files and connecting to sockets.
const EVERYTHING: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    Execute | ReadFile | ReadDir | WriteFile | Truncate | IoctlDev | Refer | RemoveFile | RemoveDir
    | MakeReg | MakeDir | MakeSym | MakeFifo | MakeSock
});
const CONNECT: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ResolveUnix});

impl Confinement {
    /// Denies everything. A kernel whose Landlock ABI is below `minimum_abi` is refused; 0 accepts even a kernel without
    /// Landlock.
    #[must_use]
    pub fn new(minimum_abi: u32) -> Self {
        Self {
            rules: Vec::new(),
            network: Network::Nothing,
            minimum_abi,
        }
    }

    /// Allows reading this file, or everything below this directory.
    #[must_use]
    pub fn read(self, path: impl Into<PathBuf>) -> Self {
        self.rule(path.into(), READ, false)
    }

    /// As [`read`](Self::read), if the path exists.
    #[must_use]
    pub fn read_if_present(self, path: impl Into<PathBuf>) -> Self {
        self.rule(path.into(), READ, true)
    }

    /// Allows reading and writing this file, or below this directory reading, creating, writing, renaming and removing
    /// regular files and directories.
    #[must_use]
    pub fn write(self, path: impl Into<PathBuf>) -> Self {
        self.rule(path.into(), WRITE, false)
    }

    /// Allows reading and executing this file, or everything below this directory, if the path exists.
    #[must_use]
    pub fn execute_if_present(self, path: impl Into<PathBuf>) -> Self {
        self.rule(path.into(), EXECUTE, true)
    }

    /// Allows all use of files below this directory: reading, writing, creating (also links, FIFOs and sockets),
    /// removing, executing, and ioctl on existing device files.
    #[must_use]
    pub fn use_fully(self, path: impl Into<PathBuf>) -> Self {
        self.rule(path.into(), EVERYTHING, false)
    }

    /// As [`use_fully`](Self::use_fully), if the path exists.
    #[must_use]
    pub fn use_fully_if_present(self, path: impl Into<PathBuf>) -> Self {
        self.rule(path.into(), EVERYTHING, true)
    }

    /// Allows connecting to Unix sockets in this directory, which ABI 9 and later deny otherwise. The rule must name the
    /// directory because sockets are recreated.
    #[must_use]
    pub fn connect_unix(self, directory: impl Into<PathBuf>) -> Self {
        self.rule(directory.into(), CONNECT, false)
    }

    /// Allows the files and sockets that the C library uses to resolve host names, including its NSS modules, and the
    /// certificates of public CAs.
    #[must_use]
    pub fn name_resolution(mut self) -> Self {
        for path in [
            "/etc",
            "/usr/lib",
            "/usr/lib64",
            "/usr/share/ca-certificates",
            "/lib",
            "/lib64",
            "/nix/store",
            "/run/current-system",
            "/run/systemd/resolve",
            "/run/resolvconf",
        ] {
            self = self.read_if_present(path);
        }
        for socket in ["/run/systemd/resolve", "/run/nscd"] {
            self = self.rule(socket.into(), CONNECT, true);
        }
        self
    }

    /// Sets the network access; the default is [`Network::Nothing`].
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Confines the process irrevocably.
    ///
    /// # Errors
    ///
    /// Other threads are running, the kernel's ABI is below the minimum, or a path that is not optional cannot be
    /// opened.
    pub fn apply(&self) -> Result<LandlockReport, SandboxError> {
        threads::require_single()?;
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?;
        if self.network != Network::Any {
            ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?;
        }
        let mut created = ruleset.create()?;
        for rule in &self.rules {
            created = rule.add_to(created)?;
        }
        if let Network::Tcp { bind, connect } = &self.network {
            for port in bind {
                created = created.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
            }
            for port in connect {
                created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
            }
        }
        let status = created.restrict_self()?;
        let abi = match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
            LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
        };
        require_abi(abi, self.minimum_abi)?;
        Ok(LandlockReport {
            abi,
            enforced: Feature::of(abi, &self.network),
        })
    }

    fn rule(mut self, path: PathBuf, access: BitFlags<AccessFs>, optional: bool) -> Self {
        self.rules.push(PathRule {
            path,
            access,
            optional,
        });
        self
    }
}

/// Checks that the ABI in force is at least the minimum.
///
/// # Errors
///
/// [`SandboxError::LandlockTooOld`] if it is older. A restart does not help: the kernel determines the ABI.
pub fn require_abi(found: u32, minimum: u32) -> Result<(), SandboxError> {
    if found < minimum {
        return Err(SandboxError::LandlockTooOld { found, minimum });
    }
    Ok(())
}

impl PathRule {
    fn add_to(&self, ruleset: RulesetCreated) -> Result<RulesetCreated, SandboxError> {
        let why = match std::fs::metadata(&self.path) {
            Ok(metadata) => match PathFd::new(&self.path) {
                Ok(fd) => {
                    let access = if metadata.is_dir() {
                        self.access
                    } else {
                        self.access & AccessFs::from_file(NEWEST)
                    };
                    return Ok(ruleset.add_rule(PathBeneath::new(fd, access))?);
                }
                Err(error) => std::io::Error::other(error),
            },
            Err(error) if self.optional && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(ruleset);
            }
            Err(error) => error,
        };
        Err(SandboxError::Path {
            path: self.path.clone(),
            why,
        })
    }
}

impl Feature {
    fn of(abi: u32, network: &Network) -> Vec<Self> {
        let limits_network = *network != Network::Any;
        [
            (1, Self::Files, true),
            (3, Self::Truncate, true),
            (4, Self::Tcp, limits_network),
            (5, Self::Ioctl, true),
            (6, Self::Scopes, true),
            (9, Self::UnixConnect, true),
            (10, Self::Udp, limits_network),
        ]
        .into_iter()
        .filter(|(since, _, asked)| abi >= *since && *asked)
        .map(|(_, feature, _)| feature)
        .collect()
    }

    /// All features, as enforced by the newest kernel known here.
    pub const ALL: [Self; 7] = [
        Self::Files,
        Self::Truncate,
        Self::Tcp,
        Self::Ioctl,
        Self::Scopes,
        Self::UnixConnect,
        Self::Udp,
    ];

    /// Returns the feature's name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Truncate => "truncate",
            Self::Tcp => "tcp",
            Self::Ioctl => "ioctl",
            Self::Scopes => "scopes",
            Self::UnixConnect => "unix_connect",
            Self::Udp => "udp",
        }
    }
}

/// Returns the directory of a path; `.` for a bare file name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_depend_on_the_abi_and_the_network() {
        assert!(Feature::of(0, &Network::Nothing).is_empty());
        assert_eq!(Feature::of(2, &Network::Nothing), [Feature::Files]);
        assert!(Feature::of(4, &Network::Nothing).contains(&Feature::Tcp));
        assert!(!Feature::of(4, &Network::Any).contains(&Feature::Tcp));
        assert_eq!(Feature::of(10, &Network::Nothing).len(), 7);
    }
}
