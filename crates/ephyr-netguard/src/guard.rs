//! Compares the table in force with the policy's and replaces it.

use std::thread;
use std::time::Duration;

use ephyr_render::{NftTable, Renamed};
use ephyr_sandbox::{SandboxError, exit};

use crate::listing::{Counts, Difference, Listing, ParseError};
use crate::nft::{Nft, NftError};
use crate::source::PolicyError;

/// The table in force.
const TABLE: &str = "ephyr";

/// A dormant copy, which sees no packets, loaded to obtain the expected listing.
const EXPECTED: &str = "ephyr-expected";

/// An active copy that is in force while the table is replaced.
const NEXT: &str = "ephyr-next";

/// Delay before a loaded table whose listing differs is listed again.
const RELIST_DELAY: Duration = Duration::from_millis(100);

/// Maximum number of attempts to load and list the dormant copy. A concurrent `check` uses the same name and may remove
/// the copy. The name is shared so that the next `check` removes a copy left by a killed process.
const TRIES: usize = 20;

/// The table could not be compared or replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Nft(#[from] NftError),
    #[error(transparent)]
    Listing(#[from] ParseError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the table was loaded and has disappeared: another program changes it concurrently")]
    Gone,
    #[error(
        "the table was loaded and differs from the policy: {0}; another program changes it concurrently"
    )]
    StillDiffers(Difference),
}

impl Error {
    /// Returns the exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Policy(_) => exit::CONFIG,
            Self::Sandbox(error) => error.exit_code(),
            Self::Nft(NftError::NotFound) => exit::UNAVAILABLE,
            Self::Nft(_) | Self::Io(_) => exit::OS_ERROR,
            Self::Listing(_) => exit::PROTOCOL,
            Self::Gone | Self::StillDiffers(_) => exit::TEMPORARY_FAILURE,
        }
    }
}

/// Compares and replaces the table.
#[derive(Debug)]
pub(crate) struct Guard {
    nft: Nft,
}

impl Guard {
    pub(crate) fn new(nft: Nft) -> Self {
        Self { nft }
    }

    /// Returns the path of `nft`.
    pub(crate) fn program(&self) -> &std::path::Path {
        self.nft.program()
    }

    /// Returns the table's counters; empty if the table is absent or cannot be listed.
    pub(crate) fn counts(&self) -> Counts {
        let listed = self.listing(TABLE).ok().flatten();
        listed.map(|(_, counts)| counts).unwrap_or_default()
    }

    /// Returns the differences of the table in force from the kernel's listing of `table`.
    pub(crate) fn differences(&self, table: &NftTable) -> Result<Vec<Difference>, Error> {
        let renamed = Renamed {
            name: EXPECTED,
            dormant: true,
            counts: &Counts::new(),
        };
        let ruleset = table.ruleset_as(&renamed);
        for _ in 0..TRIES {
            self.nft.load(&ruleset)?;
            let listed = self.listing(EXPECTED);
            self.nft.remove(EXPECTED)?;
            if let Some((expected, _)) = listed? {
                let (differences, _) = self.compare(&expected.active())?;
                return Ok(differences);
            }
        }
        Err(Error::Gone)
    }

    /// Returns the differences of the table in force from this listing, and the table's counters.
    pub(crate) fn compare(&self, expected: &Listing) -> Result<(Vec<Difference>, Counts), Error> {
        Ok(match self.listing(TABLE)? {
            Some((listing, counts)) => (listing.differences(expected), counts),
            None => (vec![Difference::Absent], Counts::new()),
        })
    }

    /// Puts this table in force with these initial counts and returns its listing.
    ///
    /// Packets are filtered at every moment. One transaction replaces the table, but a packet that is between two
    /// chains of a hook during the change may see the new chain under the old rules, which do not have it, and the old
    /// chain under the new. Therefore a copy is in force from before the replacement until after it.
    pub(crate) fn replace(&self, table: &NftTable, counts: &Counts) -> Result<Listing, Error> {
        let none = Counts::new();
        let active = |name, counts| {
            table.ruleset_as(&Renamed {
                name,
                dormant: false,
                counts,
            })
        };
        self.nft.load(&active(NEXT, &none))?;
        let expected = self.listing(NEXT);
        // If this fails, the copy stays in force: two tables are better than none.
        self.nft.load(&active(TABLE, counts))?;
        let (expected, _) = expected?.ok_or(Error::Gone)?;
        let (mut differences, _) = self.compare(&expected)?;
        if !differences.is_empty() {
            // nft assembles a listing from several kernel replies; a change of another table in between can disturb it.
            thread::sleep(RELIST_DELAY);
            (differences, _) = self.compare(&expected)?;
        }
        match differences.into_iter().next() {
            None => self.remove_copy().map(|()| expected),
            Some(difference) => Err(Error::StillDiffers(difference)),
        }
    }

    /// Removes the active copy that a failed replacement may have left.
    pub(crate) fn remove_copy(&self) -> Result<(), Error> {
        Ok(self.nft.remove(NEXT)?)
    }

    fn listing(&self, table: &str) -> Result<Option<(Listing, Counts)>, Error> {
        let listed = self.nft.list(table)?;
        Ok(listed.as_deref().map(Listing::parse).transpose()?)
    }
}
