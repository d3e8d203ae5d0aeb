//! Renders text for the programs that enforce parts of a policy: nftables on the appliance, sshd and sudo on the
//! targets.
//!
//! - [`NftTable`]: the firewall table of the agents.
//! - [`target_host`]: the accounts and files of a target host, as JSON for NixOS.
//! - [`debian_tree`]: the same as a directory with scripts, for hosts without Nix.
//!
//! Everything is rendered from a compiled [`Policy`](ephyr_policy::Policy), whose names and commands contain no
//! character that these programs interpret. The crate is pure: it returns text and writes no file.

mod authority;
mod debian;
mod host;
mod nft;
mod sshd;
mod sudoers;
mod target;

pub use authority::{AuthorityName, AuthorityNameError, TrustedCaKeys, TrustedCaKeysError};
pub use debian::debian_tree;
pub use host::{HostAccount, HostFile, SudoRule, TargetHost};
pub use nft::{BrokerListen, BrokerListenError, Count, NftTable, Renamed};
pub use target::target_host;
