//! Users and groups of this host, from `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
//!
//! Only these files are read, without the C library's NSS modules. Users of a directory service and transient systemd
//! users are not found and must be given by number.

use std::fs;
use std::io;

use crate::SandboxError;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name, or the UID in decimal for a user without an entry.
    pub name: String,
    /// The UID.
    pub uid: u32,
    /// The primary group, if the user has an entry.
    pub gid: Option<u32>,
}

/// The content of the two files.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<(String, u32)>,
}

impl Accounts {
    /// Reads the host's files. A missing file counts as empty.
    ///
    /// # Errors
    ///
    /// A file exists and cannot be read.
    pub fn read() -> Result<Self, SandboxError> {
        let read = |path: &str| match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|why| SandboxError::system(path, why)),
        };
        Ok(Self::parse(&read("/etc/passwd")?, &read("/etc/group")?))
    }

    /// Parses the two files' content and skips invalid lines.
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

    /// Returns the user with this name or UID.
    ///
    /// # Errors
    ///
    /// The text is neither a number nor a known name.
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

    /// Returns the user with this UID, also if there is no entry for it.
    #[must_use]
    pub fn user_by_uid(&self, uid: u32) -> User {
        let known = self.users.iter().find(|user| user.uid == uid).cloned();
        known.unwrap_or_else(|| User {
            name: uid.to_string(),
            uid,
            gid: None,
        })
    }

    /// Returns the GID of the group with this name or number.
    ///
    /// # Errors
    ///
    /// The text is neither a number nor a known name.
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

/// Parses an account number. The kernel uses `u32::MAX` (-1) for "unchanged" or "unknown", so it is never an account.
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
    fn users_and_groups_are_found_by_name_or_number() {
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
            "a numeric name takes precedence over the number"
        );
    }

    #[test]
    fn unknown_names_and_invalid_numbers_are_errors() {
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
