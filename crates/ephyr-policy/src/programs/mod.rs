//! The table of programs that can run code, write files or change permissions, used to check `sudo` and `commands`.
//!
//! sudo runs a listed command with exactly the listed arguments; the table says whether it is still equivalent to
//! root. A pattern of `commands` that ends with ` *` leaves the arguments open; the table says what they can make the
//! program do.
//!
//! The table cannot be complete and does not replace the operator's judgement. Programs outside it are not checked;
//! `policy validate --verbose` lists them.

mod arguments;
mod files;
mod interpreters;
mod launchers;
mod network;
mod program;
mod screens;
mod system;

use std::cmp::Ordering;

use self::program::Program;
use crate::commands::{self, CommandPolicy};
use crate::model::Policy;
use crate::path::{item, join};

/// Each table is sorted by name; a name is in one table only.
const TABLES: [&[Program]; 6] = [
    files::TABLE,
    interpreters::TABLE,
    launchers::TABLE,
    network::TABLE,
    screens::TABLE,
    system::TABLE,
];

/// Returns the row of a program by its path or name: `/usr/bin/python3.11` is `python`, `vim.basic` is `vim`.
pub(crate) fn find(path: &str) -> Option<&'static Program> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let bare = stem.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    if is_loader(name) {
        return row("ld.so");
    }
    let family = [("mkfs", "mkfs"), ("qemu-system", "qemu")];
    let family = family.iter().find(|(prefix, _)| name.starts_with(prefix));
    row(name)
        .or_else(|| row(stem))
        .or_else(|| row(bare))
        .or_else(|| row(family?.1))
}

fn row(name: &str) -> Option<&'static Program> {
    TABLES.iter().find_map(|table| {
        let at = table.binary_search_by(|program| compare(program.name, name));
        at.ok().map(|at| &table[at])
    })
}

fn compare(a: &str, b: &str) -> Ordering {
    a.as_bytes().cmp(b.as_bytes())
}

/// Returns whether a program is the dynamic loader, which runs the program in its argument (ld.so(8)):
/// `ld-linux-x86-64.so.2`, `ld-musl-x86_64.so.1`, `ld-2.31.so`, `ld64.so.2`.
fn is_loader(name: &str) -> bool {
    let rest = name.strip_prefix("ld");
    rest.is_some_and(|rest| {
        rest.contains(".so") && matches!(rest.as_bytes().first(), Some(b'-' | b'.' | b'6'))
    })
}

/// A pattern of `commands` whose program is not in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownProgram {
    /// The pattern's key path, such as `roles.read.commands[1]`.
    pub path: String,
    /// The program as written in the pattern.
    pub program: String,
}

/// Returns the patterns with open arguments whose programs are not in the table, in the order of the roles. The
/// compiler cannot tell whether they are harmless.
#[must_use]
pub fn unknown_programs(policy: &Policy) -> Vec<UnknownProgram> {
    let mut unknown = Vec::new();
    for role in policy.roles() {
        let patterns = role.commands.iter().flat_map(CommandPolicy::patterns);
        for (index, pattern) in patterns.enumerate() {
            let program = commands::open_words(&pattern).and_then(|words| words.first().copied());
            if let Some(program) = program.filter(|program| find(program).is_none()) {
                let roles = join("roles", role.name.as_str());
                let path = item(&format!("{roles}.commands"), index);
                unknown.push(UnknownProgram {
                    path,
                    program: program.to_owned(),
                });
            }
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::program::GTFO;
    use super::*;

    #[test]
    fn tables_are_sorted_and_list_each_program_once() {
        let mut all: Vec<&str> = Vec::new();
        for table in TABLES {
            for pair in table.windows(2) {
                let (a, b) = (pair[0].name, pair[1].name);
                assert_eq!(compare(a, b), Ordering::Less, "{a} comes before {b}");
            }
            all.extend(table.iter().map(|program| program.name));
        }
        let count = all.len();
        all.sort_unstable();
        let twice: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
        assert!(count > 250, "{count}");
    }

    #[test]
    fn every_program_has_an_ability_and_a_source() {
        for program in TABLES.iter().copied().flatten() {
            assert!(!program.abilities.is_empty(), "{}", program.name);
            let source = program.source;
            assert!(
                source == GTFO || source.ends_with(')'),
                "{}: {source}",
                program.name
            );
            let found = find(program.name).map(|found| found.name);
            assert_eq!(found, Some(program.name));
        }
    }

    #[test]
    fn programs_are_found_despite_version_variant_and_directory() {
        for (path, name) in [
            ("/usr/bin/python3.11", "python"),
            ("vim.basic", "vim"),
            ("/usr/bin/nc.openbsd", "nc"),
            ("php8.2", "php"),
            ("gcc-12", "gcc"),
            ("/sbin/mkfs.ext4", "mkfs"),
            ("qemu-system-x86_64", "qemu"),
            ("/lib64/ld-linux-x86-64.so.2", "ld.so"),
            ("/lib/ld-musl-x86_64.so.1", "ld.so"),
            ("/lib/x86_64-linux-gnu/ld-2.31.so", "ld.so"),
            ("7z", "7z"),
            (".", "."),
        ] {
            assert_eq!(find(path).map(|program| program.name), Some(name), "{path}");
        }
        for path in ["/usr/bin/uptime", "df", "", "0", "/", "ld-report", "led"] {
            assert!(find(path).is_none(), "{path}");
        }
    }
}
