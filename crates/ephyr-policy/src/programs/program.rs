//! A row of the table of programs.

/// An effect that a program can have with untrusted arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ability {
    /// Is a shell, or starts one.
    Shell,
    /// Evaluates arguments, files or input as code.
    Evaluates,
    /// Runs other programs.
    Runs,
    /// Loads libraries, modules or plug-ins.
    LoadsCode,
    /// Is an editor, which can write files and start shells.
    Edits,
    /// Opens a pager or a screen from which a shell can be started.
    Pages,
    /// Writes files.
    Writes,
    /// Reads files.
    Reads,
    /// Changes accounts or permissions.
    Rights,
    /// Changes settings of the kernel or the service manager.
    System,
    /// Installs software and runs its scripts.
    Installs,
    /// Sends or receives data.
    Network,
}

impl Ability {
    const fn phrase(self) -> &'static str {
        match self {
            Self::Shell => "is or starts a shell",
            Self::Evaluates => "evaluates code",
            Self::Runs => "runs other programs",
            Self::LoadsCode => "loads code",
            Self::Edits => "is an editor, from which a shell can be started",
            Self::Pages => "opens a pager or screen, from which a shell can be started",
            Self::Writes => "writes files",
            Self::Reads => "reads files",
            Self::Rights => "changes accounts or permissions",
            Self::System => "changes system settings",
            Self::Installs => "installs software and runs its scripts",
            Self::Network => "sends and receives data",
        }
    }
}

/// Returns why a program with these arguments is dangerous; `None` if the arguments confine it. The flag says whether
/// further arguments may follow.
pub(super) type Judge = fn(&[&str], bool) -> Option<&'static str>;

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Program {
    /// The file name without directory and version.
    pub(super) name: &'static str,
    /// The source for its abilities: GTFOBins or a manual page.
    pub(super) source: &'static str,
    pub(super) abilities: &'static [Ability],
    /// Whether it is equivalent to root even with fixed arguments, if run as root.
    always: bool,
    /// Judges the arguments, if the danger depends on them.
    judge: Option<Judge>,
}

/// <https://gtfobins.github.io>
pub(super) const GTFO: &str = "GTFOBins";

/// Creates a row for a program that is harmless as root if its arguments are fixed.
pub(super) const fn fixed(
    name: &'static str,
    source: &'static str,
    can: &'static [Ability],
) -> Program {
    Program {
        name,
        source,
        abilities: can,
        always: false,
        judge: None,
    }
}

/// Creates a row for a program that is equivalent to root with any arguments.
pub(super) const fn always(
    name: &'static str,
    source: &'static str,
    can: &'static [Ability],
) -> Program {
    Program {
        always: true,
        ..fixed(name, source, can)
    }
}

impl Program {
    /// Adds a judge of the arguments.
    pub(super) const fn judged(mut self, judge: Judge) -> Self {
        self.judge = Some(judge);
        self
    }

    fn described(&self) -> String {
        let phrases: Vec<&str> = self.abilities.iter().map(|can| can.phrase()).collect();
        phrases.join(", ")
    }

    /// Returns why it is equivalent to root with exactly these arguments; `None` if it is not.
    pub(crate) fn as_root(&self, arguments: &[&str]) -> Option<String> {
        match self.judge {
            _ if self.always => Some(self.described()),
            Some(judge) => judge(arguments, false).map(str::to_owned),
            None => None,
        }
    }

    /// Returns what it can do if further arguments may follow these; `None` if nothing dangerous. Reading counts only
    /// for root, who can read everything: for other accounts, an operator who lists `cat *` intends it to read files.
    pub(crate) fn with_open_arguments(&self, fixed: &[&str], root: bool) -> Option<String> {
        let why = match self.judge {
            Some(judge) => judge(fixed, true).map(str::to_owned),
            None if !root && self.abilities == [Ability::Reads] => None,
            None => Some(self.described()),
        };
        why.map(|why| format!("{why} ({})", self.source))
    }
}
