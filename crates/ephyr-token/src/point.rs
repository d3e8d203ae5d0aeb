//! Validation of Ed25519 public keys.

use ed25519_dalek::VerifyingKey;

/// Why 32 bytes are not a usable Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointFault {
    /// The bytes are not a point of the curve.
    #[error("its 32 bytes are not a point of the Ed25519 curve")]
    NotOnCurve,
    /// The bytes are not the canonical encoding of their point (RFC 8032 section 5.1.3). Accepting them would
    /// give one key two fingerprints.
    #[error("its 32 bytes are not the canonical encoding of their point")]
    NotCanonical,
    /// The point has a small order: valid signatures can be made without a private key.
    #[error("its point has a small order, so anyone can sign for it")]
    SmallOrder,
}

/// Decodes an Ed25519 public key from its canonical encoding.
///
/// # Errors
/// [`PointFault`]; points of small order are refused as well.
pub fn usable_point(bytes: &[u8; 32]) -> Result<VerifyingKey, PointFault> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| PointFault::NotOnCurve)?;
    if key.is_weak() {
        return Err(PointFault::SmallOrder);
    }
    // The decoder accepts non-reduced coordinates and either sign of zero; re-encoding reveals them.
    if key.to_edwards().compress().as_bytes() != bytes {
        return Err(PointFault::NotCanonical);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;

    /// Returns the little-endian encoding of 2^255 - 1 with its first byte replaced by `value`.
    fn beyond_p(value: u8) -> [u8; 32] {
        let mut bytes = [0xff; 32];
        bytes[0] = value;
        bytes[31] = 0x7f;
        bytes
    }

    #[test]
    fn small_order_points_are_refused_and_keys_accepted() {
        let identity: [u8; 32] = std::array::from_fn(|at| u8::from(at == 0));
        let of_order_8 = [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ];
        // p - 1, then 0 and 1 encoded as p and p + 1.
        let others = [beyond_p(0xec), beyond_p(0xed), beyond_p(0xee)];
        for weak in [identity, [0; 32], of_order_8].into_iter().chain(others) {
            assert_eq!(
                usable_point(&weak),
                Err(PointFault::SmallOrder),
                "{weak:02x?}"
            );
        }
        for seed in 0..8 {
            let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
            assert_eq!(usable_point(key.as_bytes()), Ok(key));
        }
    }

    #[test]
    fn non_canonical_point_encodings_are_refused() {
        let mut second = 0;
        for y in 2..=18 {
            let plain: [u8; 32] = std::array::from_fn(|at| if at == 0 { y } else { 0 });
            let again = beyond_p(0xed + y);
            match usable_point(&plain) {
                Ok(_) => {
                    assert_eq!(usable_point(&again), Err(PointFault::NotCanonical), "{y}");
                    second += 1;
                }
                Err(fault) => assert_eq!(usable_point(&again), Err(fault), "{y}"),
            }
        }
        assert!(second > 3, "{second}");
    }
}
