//! Pure: task tokens: caveats, minting, verification, reduction; delegation certificates and receipts.
