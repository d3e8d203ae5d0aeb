//! The binary layout of tokens, its text form and the HMAC chain.
//!
//! ```text
//! 0x02 | u32be len, identifier | u32be len, location | u32be count | count × (u32be len, caveat) | 32 B signature
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyr_names::{Digest, EpochId, TaskId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{MintError, TokenError};
use crate::keys::RootKey;
use crate::limit::HolderCaveat;

/// Maximum length of a token in bytes, before base64url encoding.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// The prefix of every token's text.
pub const TEXT_PREFIX: &str = "mac_";

/// The only valid location. As in every macaroon the signature does not cover it, so it is a constant.
pub const LOCATION: &str = "ephyr-broker";

const VERSION: u8 = 2;
const SIGNATURE_LEN: usize = 32;
const ULID_LEN: usize = 26;

/// A token with a valid layout and identifier. It may be forged: verify it with
/// [`crate::UnverifiedToken::verify`] before use.
///
/// `Debug` shows only the digest, because the bytes are a bearer credential. They are not erased on drop:
/// they cross the wire with every request and expire within an hour.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    bytes: Vec<u8>,
    epoch: EpochId,
    root: TaskId,
    /// The number of broker caveats according to the identifier.
    broker: usize,
    /// The number of all caveats.
    count: usize,
    /// Start and end of the identifier.
    identifier: (usize, usize),
    /// Offset of the first caveat.
    body: usize,
}

impl Token {
    /// Parses the text form.
    ///
    /// # Errors
    /// [`TokenError`] if the text, the layout or the identifier is malformed. The signature and the
    /// caveats are not checked.
    pub fn from_text(text: &str) -> Result<Self, TokenError> {
        let encoded = text
            .strip_prefix(TEXT_PREFIX)
            .ok_or(TokenError::NotAToken)?;
        if encoded.len() > MAX_TOKEN_BYTES.div_ceil(3) * 4 {
            return Err(TokenError::TooLong);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| TokenError::Base64)?;
        Self::from_bytes(bytes)
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Self, TokenError> {
        if bytes.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let mut reader = Reader {
            bytes: &bytes,
            at: 0,
        };
        match reader.take(1)? {
            [VERSION] => {}
            [other] => return Err(TokenError::Version(*other)),
            _ => return Err(TokenError::Truncated),
        }
        let identifier = reader.field()?;
        let identifier_at = (reader.at - identifier.len(), reader.at);
        if reader.field()? != LOCATION.as_bytes() {
            return Err(TokenError::Location);
        }
        let count = reader.number()?;
        let body = reader.at;
        for _ in 0..count {
            reader.field()?;
        }
        reader.take(SIGNATURE_LEN)?;
        if reader.at != bytes.len() {
            return Err(TokenError::TrailingBytes);
        }
        let (epoch, root, broker) = parse_identifier(identifier).ok_or(TokenError::Identifier)?;
        if broker == 0 || broker > count {
            return Err(TokenError::SectionCount);
        }
        Ok(Self {
            epoch,
            root,
            broker,
            count,
            identifier: identifier_at,
            body,
            bytes,
        })
    }

    /// Builds and signs a token from its broker caveats.
    pub(crate) fn build(
        key: &RootKey,
        epoch: EpochId,
        root: TaskId,
        caveats: &[Vec<u8>],
    ) -> Result<Self, MintError> {
        let identifier = format!("{epoch}.{root}.{}", caveats.len());
        let len = 1
            + 4
            + identifier.len()
            + 4
            + LOCATION.len()
            + 4
            + SIGNATURE_LEN
            + caveats.iter().map(|caveat| 4 + caveat.len()).sum::<usize>();
        if len > MAX_TOKEN_BYTES {
            return Err(MintError::TooLong { len });
        }
        let mut bytes = Vec::with_capacity(len);
        bytes.push(VERSION);
        push_field(&mut bytes, identifier.as_bytes());
        let identifier_at = (bytes.len() - identifier.len(), bytes.len());
        push_field(&mut bytes, LOCATION.as_bytes());
        bytes.extend(be32(caveats.len()));
        let body = bytes.len();
        let mut signature = mac(key.dangerous_bytes(), identifier.as_bytes());
        for caveat in caveats {
            push_field(&mut bytes, caveat);
            signature = mac(&signature, caveat);
        }
        bytes.extend(signature);
        let (broker, count) = (caveats.len(), caveats.len());
        Ok(Self {
            bytes,
            epoch,
            root,
            broker,
            count,
            identifier: identifier_at,
            body,
        })
    }

    /// Returns the text form, as sent after `Authorization: Bearer `. It is secret.
    #[must_use]
    pub fn as_text(&self) -> String {
        let mut text = String::with_capacity(TEXT_PREFIX.len() + self.bytes.len().div_ceil(3) * 4);
        text.push_str(TEXT_PREFIX);
        URL_SAFE_NO_PAD.encode_string(&self.bytes, &mut text);
        text
    }

    /// Returns the SHA-256 of the token's bytes, which identifies it in proofs, logs and audit records.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(&self.bytes).into())
    }

    /// Returns the epoch that the identifier claims.
    #[must_use]
    pub const fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// Returns the root task that the identifier claims.
    #[must_use]
    pub const fn root(&self) -> TaskId {
        self.root
    }

    /// Returns how many of the first caveats the identifier assigns to the broker.
    #[must_use]
    pub const fn broker_caveats(&self) -> usize {
        self.broker
    }

    /// Returns the length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no token is empty")]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a caveat, which needs no key. The new token allows only actions that both this token and the
    /// caveat allow.
    ///
    /// # Errors
    /// [`MintError::TooLong`] if the new token exceeds [`MAX_TOKEN_BYTES`].
    pub fn append(&self, caveat: &HolderCaveat) -> Result<Self, MintError> {
        self.append_bytes(caveat.to_string().as_bytes())
    }

    pub(crate) fn append_bytes(&self, caveat: &[u8]) -> Result<Self, MintError> {
        let len = self.bytes.len() + 4 + caveat.len();
        if len > MAX_TOKEN_BYTES {
            return Err(MintError::TooLong { len });
        }
        let kept = &self.bytes[..self.bytes.len() - SIGNATURE_LEN];
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(kept);
        bytes[self.body - 4..self.body].copy_from_slice(&be32(self.count + 1));
        push_field(&mut bytes, caveat);
        bytes.extend(mac(self.signature(), caveat));
        Ok(Self {
            bytes,
            count: self.count + 1,
            ..*self
        })
    }

    /// Returns all caveats in order, the broker's first.
    pub(crate) fn caveats(&self) -> Caveats<'_> {
        let body = &self.bytes[self.body..self.bytes.len() - SIGNATURE_LEN];
        Caveats {
            reader: Reader { bytes: body, at: 0 },
        }
    }

    /// Returns whether the HMAC chain from `key` over all caveats ends in the token's signature, compared in
    /// constant time.
    pub(crate) fn is_signed_with(&self, key: &RootKey) -> bool {
        let identifier = &self.bytes[self.identifier.0..self.identifier.1];
        let end = self.caveats().fold(
            mac(key.dangerous_bytes(), identifier),
            |signature, caveat| mac(&signature, caveat),
        );
        end.ct_eq(self.signature()).into()
    }

    fn signature(&self) -> &[u8; SIGNATURE_LEN] {
        // Both constructors guarantee that the bytes end in a signature.
        self.bytes.last_chunk().unwrap_or(&[0; SIGNATURE_LEN])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(sha256 {})", self.digest())
    }
}

/// Iterates over the caveats of a token whose layout is valid.
pub(crate) struct Caveats<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Caveats<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.reader.field().ok()
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], TokenError> {
        let end = self.at.checked_add(len).ok_or(TokenError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(TokenError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self) -> Result<usize, TokenError> {
        let bytes = self
            .take(4)?
            .try_into()
            .map_err(|_| TokenError::Truncated)?;
        usize::try_from(u32::from_be_bytes(bytes)).map_err(|_| TokenError::Truncated)
    }

    fn field(&mut self) -> Result<&'a [u8], TokenError> {
        let len = self.number()?;
        self.take(len)
    }
}

/// Parses `<epoch ULID>.<root task ULID>.<n>`, n in canonical decimal.
fn parse_identifier(bytes: &[u8]) -> Option<(EpochId, TaskId, usize)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let epoch = text.get(..ULID_LEN)?.parse().ok()?;
    let rest = text.get(ULID_LEN..)?.strip_prefix('.')?;
    let root = rest.get(..ULID_LEN)?.parse().ok()?;
    let n = rest.get(ULID_LEN..)?.strip_prefix('.')?;
    let canonical = n.starts_with(|c: char| ('1'..='9').contains(&c)) || n == "0";
    if !canonical || !n.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((epoch, root, n.parse().ok()?))
}

fn push_field(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend(be32(field.len()));
    bytes.extend_from_slice(field);
}

/// Encodes a length or count; callers pass values below [`MAX_TOKEN_BYTES`].
fn be32(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes()
}

/// Computes HMAC-SHA256 (RFC 2104, FIPS 198-1) with a 32-byte key, zero-padded to a block as the standard
/// requires.
fn mac(key: &[u8; SIGNATURE_LEN], message: &[u8]) -> [u8; SIGNATURE_LEN] {
    let mut block = [0; 64];
    block[..SIGNATURE_LEN].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}
