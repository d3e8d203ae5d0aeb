//! What others enforce of a policy: text for their programs, made of what is checked already.

mod nft;

pub use nft::{BrokerListen, BrokerListenError, Count, NftTable, Renamed};
