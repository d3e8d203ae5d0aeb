//! What others enforce of a policy: text for their programs, made of what is checked already.

mod authority;
mod debian;
mod nft;
mod sshd;
mod sudoers;
mod target;

pub use authority::{Authority, AuthorityError, CaKeys, CaKeysError};
pub use debian::debian_tree;
pub use nft::{BrokerListen, BrokerListenError, Count, NftTable, Renamed};
pub use target::{HostAccount, HostFile, SudoRule, TargetHost, target_host};
