//! The table in force: compared with the policy's, and replaced.

use std::thread;
use std::time::Duration;

use ephyr_render::{NftTable, Renamed};
use ephyr_sandbox::{SandboxError, exit};

use crate::listing::{Counts, Difference, Listing, Unreadable};
use crate::nft::{Nft, NftError};
use crate::source::PolicyError;

/// The table in force.
const TABLE: &str = "ephyr";

/// A copy that sees no packet, to learn how the table would be listed.
const EXPECTED: &str = "ephyr-expected";

/// A copy in force for as long as the table is replaced.
const NEXT: &str = "ephyr-next";

/// After so long a table that was loaded and is listed otherwise is listed once more.
const AGAIN: Duration = Duration::from_millis(100);

/// How often the copy is loaded to be listed: another `check` has it under the same name, and takes it away when it
/// is done with its own. One name for all, so that none is left by a process that was killed for the next not to find.
const TRIES: usize = 20;

/// Why there is no table, or no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Nft(#[from] NftError),
    #[error(transparent)]
    Listing(#[from] Unreadable),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the table was loaded and is gone again: someone else changes it at the same time")]
    Gone,
    #[error("the table was loaded and differs all the same: {0}")]
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

/// Compares and replaces.
#[derive(Debug)]
pub(crate) struct Guard {
    nft: Nft,
}

impl Guard {
    pub(crate) fn new(nft: Nft) -> Self {
        Self { nft }
    }

    /// The program that it runs.
    pub(crate) fn program(&self) -> &std::path::Path {
        self.nft.program()
    }

    /// What the table's counters say; nothing where there is none to ask.
    pub(crate) fn counts(&self) -> Counts {
        let listed = self.listing(TABLE).ok().flatten();
        listed.map(|(_, counts)| counts).unwrap_or_default()
    }

    /// How the table in force differs from what the kernel makes of this one; nothing if it does not.
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
                let (differences, _) = self.compare(&expected.awake())?;
                return Ok(differences);
            }
        }
        Err(Error::Gone)
    }

    /// How the table in force differs from this listing, with what its counters say.
    pub(crate) fn compare(&self, expected: &Listing) -> Result<(Vec<Difference>, Counts), Error> {
        Ok(match self.listing(TABLE)? {
            Some((listing, counts)) => (listing.differences(expected), counts),
            None => (vec![Difference::Absent], Counts::new()),
        })
    }

    /// Puts this table in force, its counters beginning with these counts, and says how it is listed.
    ///
    /// There is no moment without rules. One transaction replaces the table; but a packet that is between two
    /// chains of one hook in the very moment of the change may pass the new chain by the old rules,
    /// of which it has none yet, and the old one by the new. So a copy is in force before, and until after.
    pub(crate) fn replace(&self, table: &NftTable, counts: &Counts) -> Result<Listing, Error> {
        let none = Counts::new();
        let awake = |name, counts| {
            table.ruleset_as(&Renamed {
                name,
                dormant: false,
                counts,
            })
        };
        self.nft.load(&awake(NEXT, &none))?;
        let expected = self.listing(NEXT);
        // What cannot be put in its place stays as the copy: better two tables than none.
        self.nft.load(&awake(TABLE, counts))?;
        let (expected, _) = expected?.ok_or(Error::Gone)?;
        let (mut differences, _) = self.compare(&expected)?;
        if !differences.is_empty() {
            // A listing is put together from several answers, between which someone else may change another table.
            thread::sleep(AGAIN);
            (differences, _) = self.compare(&expected)?;
        }
        match differences.into_iter().next() {
            None => self.tidy().map(|()| expected),
            Some(difference) => Err(Error::StillDiffers(difference)),
        }
    }

    /// Takes the copy away that a replacement which did not succeed has left in force.
    pub(crate) fn tidy(&self) -> Result<(), Error> {
        Ok(self.nft.remove(NEXT)?)
    }

    fn listing(&self, table: &str) -> Result<Option<(Listing, Counts)>, Error> {
        let listed = self.nft.list(table)?;
        Ok(listed.as_deref().map(Listing::read).transpose()?)
    }
}
