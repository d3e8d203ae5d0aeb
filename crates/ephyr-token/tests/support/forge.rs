//! An independent token encoder, which can also write invalid tokens. It shares no code with the crate.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub(crate) const EPOCH: &str = "01KAT0000000000000000EP0CH";
pub(crate) const ROOT: &str = "01KAT00000000000000000R00T";

/// The parts of a token to encode.
pub(crate) struct Forge {
    pub(crate) key: [u8; 32],
    pub(crate) version: u8,
    pub(crate) identifier: String,
    pub(crate) location: String,
    pub(crate) caveats: Vec<Vec<u8>>,
}

impl Forge {
    /// Returns a token of [`ROOT`] whose first `broker` caveats are the broker's.
    pub(crate) fn new<C: AsRef<str>>(key: [u8; 32], broker: usize, caveats: &[C]) -> Self {
        Self {
            key,
            version: 2,
            identifier: format!("{EPOCH}.{ROOT}.{broker}"),
            location: "ephyr-broker".to_owned(),
            caveats: caveats
                .iter()
                .map(|c| c.as_ref().as_bytes().to_vec())
                .collect(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.version];
        field(&mut bytes, self.identifier.as_bytes());
        field(&mut bytes, self.location.as_bytes());
        bytes.extend(be32(self.caveats.len()));
        let mut signature = mac(&self.key, self.identifier.as_bytes());
        for caveat in &self.caveats {
            field(&mut bytes, caveat);
            signature = mac(&signature, caveat);
        }
        bytes.extend(signature);
        bytes
    }

    pub(crate) fn text(&self) -> String {
        encode(&self.bytes())
    }
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    format!("mac_{}", URL_SAFE_NO_PAD.encode(bytes))
}

pub(crate) fn decode(text: &str) -> Vec<u8> {
    let encoded = text.strip_prefix("mac_").expect("a token begins with mac_");
    URL_SAFE_NO_PAD
        .decode(encoded)
        .expect("a token is base64url")
}

/// Appends a caveat of any bytes without the key, as a holder can.
pub(crate) fn append(text: &str, caveat: &[u8]) -> String {
    let mut bytes = decode(text);
    let signature = bytes.split_off(bytes.len() - 32);
    let identifier = u32::from_be_bytes(bytes[1..5].try_into().expect("4 bytes")) as usize;
    let location = 5 + identifier;
    let len = u32::from_be_bytes(bytes[location..location + 4].try_into().expect("4 bytes"));
    let count = location + 4 + len as usize;
    let n = u32::from_be_bytes(bytes[count..count + 4].try_into().expect("4 bytes")) + 1;
    bytes[count..count + 4].copy_from_slice(&n.to_be_bytes());
    field(&mut bytes, caveat);
    bytes.extend(mac(&signature, caveat));
    encode(&bytes)
}

fn be32(n: usize) -> [u8; 4] {
    u32::try_from(n)
        .expect("test tokens are short")
        .to_be_bytes()
}

fn field(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend(be32(field.len()));
    bytes.extend_from_slice(field);
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC accepts keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}
