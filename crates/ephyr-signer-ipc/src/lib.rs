//! The protocol between broker and signer: a closed set of requests and replies, and their framing.
//!
//! A connection carries one request and one reply. A frame is the body's length as four bytes, big
//! endian, then the body: compact JSON of at most [`MAX_FRAME`] bytes. Enums are externally tagged
//! (`{"sign":{"intent":{…}}}`). Frames with unknown variants, unknown or repeated fields or trailing
//! bytes are refused.
//!
//! A sign request carries an *intent*: agent, target, role and purpose. Only its public key and, for
//! `exec`, its command are copied into the certificate, which is sealed to that command. The signer
//! derives everything else from its own policy.
//!
//! The crate is pure: [`FrameReader`] and [`encode`] do no I/O, and [`exchange()`] uses a stream that the
//! caller opened.

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
