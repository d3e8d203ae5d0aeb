//! The users and groups of a world: daemons, agents and role accounts.

use std::collections::BTreeMap;
use std::fs;

use crate::error::{Context as _, Error, Result};

/// The isolation of a world, depending on the privileges of the test process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footing {
    /// Root, with a private mount namespace: every account is a separate user.
    Private,
    /// Root without mount namespaces (an ordinary container): daemons and agents have separate user
    /// ids, and the role account on the targets is root.
    Numeric,
    /// An ordinary user: every account is that user.
    Plain,
}

/// A user of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The login name; only a label on [`Footing::Numeric`].
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

/// All users and groups of a world.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// The login shell of all accounts.
    pub(crate) shell: String,
    /// The isolation of the world.
    pub footing: Footing,
    users: BTreeMap<String, Account>,
    groups: BTreeMap<String, u32>,
}

pub(crate) const SIGNER: &str = "ephyr-signer";
pub(crate) const BROKER: &str = "ephyr-broker";
pub(crate) const AGENTS: &str = "ephyr-agents";
pub(crate) const SIGNER_CLIENTS: &str = "ephyr-signer-clients";

/// The login shell of a world's accounts.
const SHELL: &str = "/bin/sh";

/// The first user id to use: above the range that distributions give to people and below that of
/// systemd's dynamic users.
const FIRST_ID: u32 = 59_000;

impl Accounts {
    /// Assigns accounts to the daemons, these agents and these role accounts.
    pub(crate) fn make(footing: Footing, agents: &[&str], roles: &[&str]) -> Result<Self> {
        match footing {
            Footing::Private => Self::separate(footing, agents, roles, &taken_ids()?),
            Footing::Numeric => Self::separate(footing, agents, &[], &taken_ids()?),
            Footing::Plain => Self::all_one(agents),
        }
    }

    fn separate(footing: Footing, agents: &[&str], roles: &[&str], taken: &[u32]) -> Result<Self> {
        let mut free = (FIRST_ID..FIRST_ID + 1000).filter(|id| !taken.contains(id));
        let mut next = || free.next().ok_or_else(|| Error::new("no free user ids"));
        let clients = next()?;
        let agents_group = next()?;
        let mut accounts = Self {
            footing,
            shell: SHELL.to_owned(),
            users: BTreeMap::new(),
            groups: [
                (SIGNER_CLIENTS.into(), clients),
                (AGENTS.into(), agents_group),
            ]
            .into(),
        };
        let daemons = [
            (SIGNER, vec![clients]),
            (BROKER, vec![clients, agents_group]),
        ];
        let others = agents
            .iter()
            .map(|name| (*name, vec![agents_group]))
            .chain(roles.iter().map(|name| (*name, vec![])));
        for (name, groups) in daemons.into_iter().chain(others) {
            let id = next()?;
            accounts.users.insert(
                name.to_owned(),
                Account {
                    name: name.to_owned(),
                    uid: id,
                    gid: id,
                    groups,
                },
            );
        }
        Ok(accounts)
    }

    fn all_one(agents: &[&str]) -> Result<Self> {
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let name = user_name(uid)?;
        let me = Account {
            name,
            uid,
            gid,
            groups: Vec::new(),
        };
        let users = agents.iter().copied().chain([SIGNER, BROKER]);
        Ok(Self {
            footing: Footing::Plain,
            shell: SHELL.to_owned(),
            users: users.map(|label| (label.to_owned(), me.clone())).collect(),
            groups: BTreeMap::new(),
        })
    }

    /// The account with this label.
    ///
    /// # Errors
    /// The account does not exist.
    pub fn get(&self, label: &str) -> Result<&Account> {
        self.users
            .get(label)
            .ok_or_else(|| Error::new(format!("the world has no account {label:?}")))
    }

    /// The id of a group; `None` if the world has no separate groups.
    #[must_use]
    pub fn group(&self, label: &str) -> Option<u32> {
        self.groups.get(label).copied()
    }

    /// The Unix account of a role. Where accounts cannot be created, the first role has the only
    /// existing account and the others have accounts that do not exist, because two roles of a target
    /// may not share one.
    ///
    /// # Errors
    /// The account does not exist.
    pub fn role_account(&self, label: &str) -> Result<String> {
        let is_first = label == crate::policy::ROLES[0].1;
        match self.footing {
            Footing::Private => Ok(self.get(label)?.name.clone()),
            Footing::Numeric if is_first => Ok("root".to_owned()),
            Footing::Plain if is_first => Ok(self.get(BROKER)?.name.clone()),
            Footing::Numeric | Footing::Plain => Ok(label.to_owned()),
        }
    }

    /// Whether every role has a separate account that accepts logins.
    #[must_use]
    pub fn have_role_accounts(&self) -> bool {
        self.footing == Footing::Private
    }

    /// Whether the accounts of this world are different users.
    #[must_use]
    pub fn are_separate(&self) -> bool {
        self.footing != Footing::Plain
    }

    /// The machine's `/etc/passwd`, `/etc/group` and `/etc/shadow` with the world's accounts added, and
    /// their home directories below `homes`.
    pub(crate) fn files(&self, homes: &str) -> Result<[(&'static str, String); 3]> {
        let read = |path: &str| fs::read_to_string(path).context(|| format!("reading {path}"));
        let mut passwd = read("/etc/passwd")?;
        let mut group = read("/etc/group")?;
        let mut shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
        for text in [&mut passwd, &mut group, &mut shadow] {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
        }
        // The user of sshd's privilege separation, if the package has not created it.
        if !passwd.lines().any(|line| line.starts_with("sshd:")) {
            passwd.push_str("sshd:x:58999:65534::/run/sshd:/usr/sbin/nologin\n");
            shadow.push_str("sshd:*:19000::::::\n");
        }
        for user in self.users.values() {
            let Account { name, uid, gid, .. } = user;
            passwd.push_str(&format!(
                "{name}:x:{uid}:{gid}::{homes}/{name}:{}\n",
                self.shell
            ));
            group.push_str(&format!("{name}:x:{gid}:\n"));
            // `*`, not `!`: sshd treats the latter as a locked account and refuses every login.
            shadow.push_str(&format!("{name}:*:19000::::::\n"));
        }
        for (name, gid) in &self.groups {
            let members: Vec<&str> = self
                .users
                .values()
                .filter(|user| user.groups.contains(gid))
                .map(|user| user.name.as_str())
                .collect();
            group.push_str(&format!("{name}:x:{gid}:{}\n", members.join(",")));
        }
        Ok([("passwd", passwd), ("group", group), ("shadow", shadow)])
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = &Account> {
        self.users.values()
    }
}

fn taken_ids() -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for path in ["/etc/passwd", "/etc/group"] {
        let text = fs::read_to_string(path).context(|| format!("reading {path}"))?;
        ids.extend(
            text.lines()
                .filter_map(|line| line.split(':').nth(2)?.parse::<u32>().ok()),
        );
    }
    Ok(ids)
}

fn user_name(uid: u32) -> Result<String> {
    let text = fs::read_to_string("/etc/passwd").context(|| "reading /etc/passwd".to_owned())?;
    text.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
        })
        .ok_or_else(|| {
            Error::new(format!(
                "user id {uid} has no name in /etc/passwd, and sshd requires one; add an entry"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assigned_ids_are_unique_and_not_taken() {
        let accounts =
            Accounts::separate(Footing::Private, &["a", "b"], &["r"], &[59_000, 59_003]).unwrap();
        let mut ids: Vec<u32> = accounts.users().map(|user| user.uid).collect();
        ids.extend(accounts.groups.values());
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        assert!(!ids.contains(&59_000) && !ids.contains(&59_003));
    }

    #[test]
    fn only_the_broker_is_in_the_signer_clients_group() {
        let accounts = Accounts::separate(Footing::Private, &["a"], &["r"], &[]).unwrap();
        let clients = accounts.group(SIGNER_CLIENTS).unwrap();
        let is_client = |label: &str| accounts.get(label).unwrap().groups.contains(&clients);
        assert!(is_client(BROKER));
        assert!(!is_client("a") && !is_client("r"));
    }
}
