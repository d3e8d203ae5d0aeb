//! The frames of the state journal.
//!
//! Format (version 2): the line `ephyr-broker-state 2`, then frames of `u32be length`, `first 4 bytes of
//! SHA-256(length)`, `first 4 bytes of SHA-256(length ‖ payload)`, `payload` (compact JSON of
//! [`StateEntry`](super::StateEntry)). The length has its own checksum, verified before the length is used: a wrong
//! length would make the rest of the journal look like an incomplete last frame.
//!
//! A kill during a write leaves an incomplete last frame; its answer was never sent, so the frame is cut off. Any
//! other damage, or a newer version, invalidates the whole journal: the broker starts a new epoch, and all earlier
//! tokens are invalid. Version 1 had one checksum, over the payload alone; it is read and rewritten at startup.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The first line of a journal.
pub(super) const HEADER: &[u8] = b"ephyr-broker-state 2\n";
/// The first line of a version 1 journal.
pub(super) const HEADER_1: &[u8] = b"ephyr-broker-state 1\n";
/// Maximum payload length, far above any entry. A greater length is damage.
const MAX_FRAME: usize = 1 << 20;

/// An encoded entry of the journal.
pub(super) struct Frame(Zeroizing<Vec<u8>>);

/// Bytes before a frame's payload.
pub(super) const HEAD: usize = 12;

impl Frame {
    /// Encodes an entry.
    ///
    /// # Errors
    /// The entry is too long, or cannot be encoded.
    pub(super) fn encode<E: Serialize>(entry: &E) -> io::Result<Self> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(768));
        bytes.extend_from_slice(&[0; HEAD]);
        serde_json::to_writer(&mut *bytes, entry)?;
        Self::seal(bytes)
    }

    /// Returns the frame of an already encoded payload.
    ///
    /// # Errors
    /// The payload is too long.
    pub(super) fn of_payload(payload: &[u8]) -> io::Result<Self> {
        let mut bytes = Zeroizing::new(vec![0; HEAD]);
        bytes.extend_from_slice(payload);
        Self::seal(bytes)
    }

    /// Returns the encoded bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Fills in the header before the payload.
    fn seal(mut bytes: Zeroizing<Vec<u8>>) -> io::Result<Self> {
        let payload = bytes.len() - HEAD;
        let length = u32::try_from(payload).ok().filter(|_| payload <= MAX_FRAME);
        let length = length.ok_or_else(|| io::Error::other("state entry too large"))?;
        let head = length.to_be_bytes();
        let (of_length, of_all) = sums(head, &bytes[HEAD..]);
        bytes[..4].copy_from_slice(&head);
        bytes[4..8].copy_from_slice(&of_length);
        bytes[8..12].copy_from_slice(&of_all);
        Ok(Self(bytes))
    }
}

/// Returns the checksums of the length, and of length and payload.
fn sums(length: [u8; 4], payload: &[u8]) -> ([u8; 4], [u8; 4]) {
    let all = Sha256::new_with_prefix(length).chain_update(payload);
    (
        first_four(Sha256::digest(length).into()),
        first_four(all.finalize().into()),
    )
}

fn first_four([a, b, c, d, ..]: [u8; 32]) -> [u8; 4] {
    [a, b, c, d]
}

/// The frames of a journal.
pub(super) struct Frames<'a> {
    pub(super) version: u8,
    /// Each complete frame's payload and its offset.
    pub(super) payloads: Vec<(usize, &'a [u8])>,
}

impl<'a> Frames<'a> {
    /// Splits a journal into its frames. Any error invalidates the whole journal.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let (version, header) = if bytes.starts_with(HEADER) {
            (2, HEADER)
        } else if bytes.starts_with(HEADER_1) {
            (1, HEADER_1)
        } else {
            let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
            let first = String::from_utf8_lossy(&first[..first.len().min(40)]).into_owned();
            return Err(format!(
                "it does not begin with `ephyr-broker-state 2` but with {first:?}"
            ));
        };
        let mut payloads = Vec::new();
        let mut at = header.len();
        while let Some((payload, end)) = next_frame(version, bytes, at)? {
            payloads.push((at, payload));
            at = end;
        }
        Ok(Self { version, payloads })
    }

    pub(super) fn entries<E: DeserializeOwned>(&self) -> Result<Vec<E>, String> {
        let entry = |(at, payload): &(usize, &[u8])| {
            serde_json::from_slice(payload).map_err(|_| format!("byte {at}: unknown entry"))
        };
        self.payloads.iter().map(entry).collect()
    }

    /// Returns the length of a journal of these frames in the current version.
    pub(super) fn current_len(&self) -> u64 {
        let frames = self.payloads.iter();
        let frames: usize = frames.map(|(_, payload)| HEAD + payload.len()).sum();
        (HEADER.len() + frames) as u64
    }
}

/// Returns the payload of the frame at `at` and its end; `None` if the bytes end first.
fn next_frame(version: u8, bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, String> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some((length, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let size = u32::from_be_bytes(*length) as usize;
    let mut rest = rest;
    if version > 1 {
        let Some((sum, after)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        // Verified before the length is used: a length that is too great would hide all later frames.
        if sums(*length, b"").0 != *sum {
            return Err(format!("byte {at}: the length's checksum does not match"));
        }
        rest = after;
    }
    if size > MAX_FRAME {
        return Err(format!("byte {at}: impossible length {size}"));
    }
    let Some((sum, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some(payload) = rest.get(..size) else {
        return Ok(None);
    };
    let expected = match version {
        1 => first_four(Sha256::digest(payload).into()),
        _ => sums(*length, payload).1,
    };
    if expected != *sum {
        return Err(format!("byte {at}: checksum does not match"));
    }
    let head = if version > 1 { HEAD } else { 8 };
    Ok(Some((payload, at + head + size)))
}
