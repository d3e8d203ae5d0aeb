//! What broker and signer say to each other: a closed set of requests and replies, and their framing.
//!
//! One connection carries one request and one reply. A frame is the body's length as four bytes, big
//! endian, then the body: compact JSON, at most [`MAX_FRAME`] bytes. Enums are externally tagged
//! (`{"sign":{"intent":{…}}}`); unknown variants, unknown or repeated fields and trailing bytes refuse
//! the frame.
//!
//! A sign request is an *intent*: who wants to do what, where. It has no field that ends up in a
//! certificate as the broker wrote it, except the public key and, for `exec`, the command, which the
//! certificate is sealed to. The signer derives the rest from its own policy.
//!
//! The crate is pure: [`FrameReader`] and [`encode`] neither read nor write, [`exchange()`] uses a
//! stream that the caller opened.

mod exchange;
mod frame;
mod limits;
mod message;
mod packed;

pub use exchange::{ExchangeError, exchange};
pub use frame::{FrameError, FrameReader, MAX_FRAME, Message, decode, encode};
pub use limits::MAX_CHECKPOINT_HASHES;
pub use message::{
    BrokerId, BrokerIdError, ErrorCode, Intent, Purpose, Reply, Request, SandboxReport,
};
pub use packed::PublicKeyBytes;
