//! Certificate fields: principal, serial and key id (OpenSSH PROTOCOL.certkeys).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{AgentName, RoleName, TargetName, TaskId};

/// A certificate's principal, `<target>/<role>`: access to one role on one target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    /// The SSH host.
    pub target: TargetName,
    /// The role on the target.
    pub role: RoleName,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.target, self.role)
    }
}

/// A certificate's serial number; as text, 16 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub u64);

/// The text is not a serial or key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a {0}")]
pub struct KeyIdError(&'static str);

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 16 || !digits {
            return Err(KeyIdError(
                "serial: expected 16 lowercase hexadecimal digits",
            ));
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| KeyIdError("serial"))
    }
}

impl Serialize for Serial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A certificate's key id, which sshd logs at login:
/// `ephyr:<agent>@<target>/<role>:<task>:<serial>`, with `-` for no task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyId {
    /// The agent it was issued to.
    pub agent: AgentName,
    /// The target and role it gives access to.
    pub principal: Principal,
    /// The task it was issued in, if any.
    pub task: Option<TaskId>,
    /// The certificate's serial.
    pub serial: Serial,
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ephyr:{}@{}:", self.agent, self.principal)?;
        match self.task {
            Some(task) => write!(f, "{task}")?,
            None => f.write_str("-")?,
        }
        write!(f, ":{}", self.serial)
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        const BAD: KeyIdError =
            KeyIdError("key id: expected ephyr:<agent>@<target>/<role>:<task>:<serial>");
        let mut parts = text.split(':');
        let (Some("ephyr"), Some(subject), Some(task), Some(serial), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(BAD);
        };
        let (agent, principal) = subject.split_once('@').ok_or(BAD)?;
        let (target, role) = principal.split_once('/').ok_or(BAD)?;
        Ok(Self {
            agent: agent.parse().map_err(|_| BAD)?,
            principal: Principal {
                target: target.parse().map_err(|_| BAD)?,
                role: role.parse().map_err(|_| BAD)?,
            },
            task: if task == "-" {
                None
            } else {
                Some(task.parse().map_err(|_| BAD)?)
            },
            serial: serial.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_round_trip_with_and_without_a_task() {
        for text in [
            "ephyr:claude@web/read:01ARZ3NDEKTSV4RRFFQ69G5FAV:00000000000000ff",
            "ephyr:claude@web/read:-:0123456789abcdef",
        ] {
            assert_eq!(text.parse::<KeyId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_key_ids_are_refused() {
        for bad in [
            "claude@web/read:-:0123456789abcdef",
            "ephyr:claude@web:-:0123456789abcdef",
            "ephyr:claude@web/read:-:0123456789ABCDEF",
            "ephyr:claude@web/read:-:0123456789abcdef:more",
        ] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
    }
}
