//! The binary layout, its text form, and the HMAC chain.
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

/// Greatest length of a token in bytes, before it is written as text.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// What the text of every token begins with.
pub const TEXT_PREFIX: &str = "mac_";

/// The only location. It is not under the signature, as in every macaroon; that it can have but
/// one value makes up for that.
pub const LOCATION: &str = "ephyr-broker";

const VERSION: u8 = 2;
const SIGNATURE_LEN: usize = 32;
const ULID_LEN: usize = 26;

/// A token whose layout and identifier are sound, and of which nothing more is known: it may be
/// forged. To act on one, go through [`crate::UnverifiedToken::verify`].
///
/// `Debug` shows the digest only: whoever has the bytes can act. They are not erased when dropped: they
/// cross the wire with every request, and are worthless within the hour.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    bytes: Vec<u8>,
    epoch: EpochId,
    root: TaskId,
    /// How many caveats the identifier gives to the broker.
    broker: usize,
    /// How many there are.
    count: usize,
    identifier: (usize, usize),
    /// Where the caveats begin.
    body: usize,
}

impl Token {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`TokenError`] when the text, the layout or the identifier is not exactly as specified. The
    /// signature and the caveats are not looked at.
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

    /// Builds a token of its broker caveats.
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

    /// The text form, as it goes after `Authorization: Bearer `. A secret.
    #[must_use]
    pub fn as_text(&self) -> String {
        let mut text = String::with_capacity(TEXT_PREFIX.len() + self.bytes.len().div_ceil(3) * 4);
        text.push_str(TEXT_PREFIX);
        URL_SAFE_NO_PAD.encode_string(&self.bytes, &mut text);
        text
    }

    /// SHA-256 of the token's bytes: what names it in proofs and where it must not be shown.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(&self.bytes).into())
    }

    /// The epoch that the identifier claims.
    #[must_use]
    pub const fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// The root task that the identifier claims.
    #[must_use]
    pub const fn root(&self) -> TaskId {
        self.root
    }

    /// How many caveats, from the first, the identifier gives to the broker.
    #[must_use]
    pub const fn broker_caveats(&self) -> usize {
        self.broker
    }

    /// Length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no token is empty")]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a caveat, as any holder can without a key: the new token allows what this one allows
    /// and the caveat allows as well.
    ///
    /// # Errors
    /// [`MintError::TooLong`] when there is no room left.
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

    /// All caveats in order: the broker's first.
    pub(crate) fn caveats(&self) -> Caveats<'_> {
        let body = &self.bytes[self.body..self.bytes.len() - SIGNATURE_LEN];
        Caveats {
            reader: Reader { bytes: body, at: 0 },
        }
    }

    /// Whether the chain from `key` over all caveats ends in the token's signature; compared in
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
        // Every token ends in a signature: both ways to make one see to it.
        self.bytes.last_chunk().unwrap_or(&[0; SIGNATURE_LEN])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(sha256 {})", self.digest())
    }
}

/// The caveats of a token whose layout was checked.
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

/// `<epoch ULID>.<root task ULID>.<n>`, n in canonical decimal.
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

/// Lengths and counts are below [`MAX_TOKEN_BYTES`] wherever this is called.
fn be32(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes()
}

/// HMAC-SHA256 (RFC 2104, FIPS 198-1) with a key of 32 bytes, filled up to a block with zeros as the
/// standard says.
fn mac(key: &[u8; SIGNATURE_LEN], message: &[u8]) -> [u8; SIGNATURE_LEN] {
    let mut block = [0; 64];
    block[..SIGNATURE_LEN].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}
