//! Identifiers of tasks, epochs, audit records and requests: ULIDs (<https://github.com/ulid/spec>; 26
//! Crockford characters for 48 bits of milliseconds and 80 random bits), accepted only in canonical form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::Timestamp;

/// The text is not a ULID in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ULID: expected 26 characters of 0-9 and A-Z without I, L, O and U")]
pub struct IdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Builds an id from a time and 80 random bits.
            #[must_use]
            pub fn from_parts(time: Timestamp, random: [u8; 10]) -> Self {
                let mut low = [0u8; 16];
                low[6..].copy_from_slice(&random);
                let ms = u128::from(time.unix_millis().cast_unsigned() & 0xFFFF_FFFF_FFFF);
                Self((ms << 80) | u128::from_be_bytes(low))
            }

            /// Returns the id's 128 bits.
            #[must_use]
            pub fn to_bits(self) -> u128 {
                self.0
            }

            /// Returns the id with these 128 bits.
            #[must_use]
            pub fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// Writes the 26 characters into `buffer` and returns them as text, without allocating.
            pub fn encode(self, buffer: &mut [u8; 26]) -> &str {
                Ulid(self.0).array_to_str(buffer)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let id = Ulid::from_string(text).map_err(|_| IdError)?;
                // The decoder accepts lowercase and overflow (`8ZZZ…`); an id must have one spelling only.
                let mut buffer = [0u8; 26];
                if id.array_to_str(&mut buffer) == text { Ok(Self(id.0)) } else { Err(IdError) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.encode(&mut [0u8; 26]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.encode(&mut [0u8; 26]))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A task, which a token represents.
    TaskId
);
id!(
    /// An epoch of the broker: the lifetime of one token-minting secret.
    EpochId
);
id!(
    /// An audit record.
    RecordId
);
id!(
    /// A pending request, such as one for approval.
    RequestId
);

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

    #[test]
    fn canonical_text_round_trips() {
        let id: TaskId = TEXT.parse().unwrap();
        assert_eq!(id.to_string(), TEXT);
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "01arz3ndektsv4rrffq69g5fav",
            "81ARZ3NDEKTSV4RRFFQ69G5FAV",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "01ARZ3NDEKTSV4RRFFQ69G5FA",
            "01ARZ3NDEKTSV4RRFFQ69G5FAVX",
            "01ARZ3NDEKTSV4RRFFQ69G5FAI",
            "",
        ] {
            assert_eq!(bad.parse::<TaskId>(), Err(IdError), "{bad}");
        }
    }

    #[test]
    fn parts_order_by_time() {
        let early = TaskId::from_parts(Timestamp::from_unix_millis(1_000), [0xFF; 10]);
        let late = TaskId::from_parts(Timestamp::from_unix_millis(1_001), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
    }
}
