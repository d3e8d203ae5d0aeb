//! Bytes in JSON: canonical base64url without padding (RFC 4648 section 5).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The 32 bytes of an Ed25519 public key (RFC 8032); as text, 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKeyBytes(pub [u8; 32]);

impl fmt::Debug for PublicKeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKeyBytes({})", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Serialize for PublicKeyBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for PublicKeyBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)?;
        let bytes = bytes
            .try_into()
            .map_err(|_| D::Error::custom("a public key must have 32 bytes"))?;
        Ok(Self(bytes))
    }
}

/// Concatenated digests; an array of a thousand hexadecimal texts would exceed a frame.
pub(crate) mod digests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ephyr_names::Digest;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::limits::MAX_CHECKPOINT_HASHES;

    pub(crate) fn serialize<S: Serializer>(
        digests: &[Digest],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = digests.iter().flat_map(|d| d.0).collect();
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Digest>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)?;
        let (digests, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(D::Error::custom("each digest must have 32 bytes"));
        }
        if digests.len() > MAX_CHECKPOINT_HASHES {
            return Err(D::Error::custom("more than 1000 hashes"));
        }
        Ok(digests.iter().copied().map(Digest).collect())
    }
}
