//! Users and groups of this host, from `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
//!
//! Only these files are read, without the C library's plug-ins: what a directory service or a
//! transient systemd user adds is not seen, and is given by its number.

use std::fs;
use std::io;

use crate::SandboxError;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name; the number where it has none.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its primary group, where the user has an entry.
    pub gid: Option<u32>,
}

/// The two files as they were read.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<(String, u32)>,
}

impl Accounts {
    /// Reads the host's files; a missing one is empty.
    ///
    /// # Errors
    ///
    /// When one exists and cannot be read.
    pub fn read() -> Result<Self, SandboxError> {
        let read = |path: &str| match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|why| SandboxError::system(path, why)),
        };
        Ok(Self::parse(&read("/etc/passwd")?, &read("/etc/group")?))
    }

    /// Parses the two files' content; lines that are not entries are passed over.
    #[must_use]
    pub fn parse(passwd: &str, group: &str) -> Self {
        let user = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok();
            Some(User { name, uid, gid })
        };
        let group_entry = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
            Some((name, fields.nth(1)?.parse().ok()?))
        };
        Self {
            users: passwd.lines().filter_map(user).collect(),
            groups: group.lines().filter_map(group_entry).collect(),
        }
    }

    /// The user of this name or number.
    ///
    /// # Errors
    ///
    /// When it is neither a number nor a name in the file.
    pub fn user(&self, name_or_uid: &str) -> Result<User, SandboxError> {
        if let Some(user) = self.users.iter().find(|user| user.name == name_or_uid) {
            return Ok(user.clone());
        }
        match number(name_or_uid) {
            Some(uid) => Ok(self.user_by_uid(uid)),
            None => Err(SandboxError::UnknownAccount {
                kind: "user",
                name: name_or_uid.to_owned(),
            }),
        }
    }

    /// The user of this number; one without a name where there is no entry.
    #[must_use]
    pub fn user_by_uid(&self, uid: u32) -> User {
        let known = self.users.iter().find(|user| user.uid == uid).cloned();
        known.unwrap_or_else(|| User {
            name: uid.to_string(),
            uid,
            gid: None,
        })
    }

    /// The number of the group of this name or number.
    ///
    /// # Errors
    ///
    /// When it is neither a number nor a name in the file.
    pub fn group(&self, name_or_gid: &str) -> Result<u32, SandboxError> {
        let known = self.groups.iter().find(|(name, _)| name == name_or_gid);
        known
            .map(|(_, gid)| *gid)
            .or_else(|| number(name_or_gid))
            .ok_or_else(|| SandboxError::UnknownAccount {
                kind: "group",
                name: name_or_gid.to_owned(),
            })
    }
}

/// `-1` as 32 bits is "nobody in particular" to the kernel, never an account.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && *n != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::parse(
            "root:x:0:0:root:/root:/bin/bash\nephyr-broker:x:990:985::/:/usr/sbin/nologin\nbad\n:x:1:1::\n77:x:78:78::/:\n",
            "root:x:0:\nephyr-signer-clients:x:980:ephyr-broker\n",
        )
    }

    #[test]
    fn names_are_looked_up_and_numbers_taken_as_they_are() {
        let accounts = accounts();
        let broker = accounts.user("ephyr-broker").unwrap();
        assert_eq!((broker.uid, broker.gid), (990, Some(985)));
        assert_eq!(accounts.user("990").unwrap(), broker);
        assert_eq!(accounts.user("4711").unwrap().uid, 4711);
        assert_eq!(accounts.group("ephyr-signer-clients").unwrap(), 980);
        assert_eq!(accounts.group("12").unwrap(), 12);
        assert_eq!(
            accounts.user("77").unwrap().uid,
            78,
            "a name of digits is a name first"
        );
    }

    #[test]
    fn what_is_no_account_is_refused() {
        let accounts = accounts();
        for bad in [
            "",
            "nobody-here",
            "-1",
            "+5",
            "4294967295",
            "99999999999",
            "bad",
        ] {
            assert!(accounts.user(bad).is_err(), "{bad}");
            assert!(accounts.group(bad).is_err(), "{bad}");
        }
    }
}
