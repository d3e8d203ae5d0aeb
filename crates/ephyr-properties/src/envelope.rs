//! The `envelope` argument of `task_create` and `task_delegate`, from its JSON to the minted token.

use std::collections::{BTreeMap, BTreeSet};

use ephyr_names::{EpochId, TaskId, Timestamp};
use ephyr_token::{
    ChildSpec, Envelope, MAX_DEPTH, MintError, NarrowingArguments, RootKey, RootSpec, Token,
    UnverifiedToken, VerifiedToken, mint_child, mint_root,
};

use crate::{Violation, ensure, expect_ok};

const EXPIRES: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// Maximum number of keys and of values in one input; every pair is checked, so the work grows quadratically.
const MAX_NAMES: usize = 24;

/// Checks that a task's authority is exactly the intersection of its own envelope and those of its ancestors,
/// and that a child is refused exactly if it asks for more than its parent has.
///
/// The input is a JSON list of envelopes from the root down, one per generation.
///
/// # Errors
/// The violation.
pub fn task_envelope(input: &[u8]) -> Result<(), Violation> {
    let Ok(asked) = serde_json::from_slice::<Vec<NarrowingArguments>>(input) else {
        return Ok(());
    };
    let names = Names::of(&asked);
    let few = [&names.keys, &names.values]
        .into_iter()
        .all(|set| set.len() <= MAX_NAMES);
    let (Some((root, below)), true) = (asked.split_first(), few) else {
        return Ok(());
    };
    let Some(mut token) = make_root(root)? else {
        return Ok(());
    };
    let mut lineage = vec![root];
    names.check(&lineage, token.envelope())?;
    for asked in below {
        let Some(child) = make_child(&token, asked, &names)? else {
            return Ok(());
        };
        lineage.push(asked);
        ensure(child.envelope().is_within(token.envelope()), || {
            format!("a child's envelope exceeds its parent's: {asked:?}")
        })?;
        let (above, own) = (token.lineage(), child.lineage());
        ensure(above.eq(own.take(usize::from(token.depth()) + 1)), || {
            "the child's lineage does not extend its parent's".to_owned()
        })?;
        names.check(&lineage, child.envelope())?;
        token = child;
    }
    Ok(())
}

fn key() -> RootKey {
    RootKey::from_bytes([7; 32])
}

fn verified(token: Token) -> Result<VerifiedToken, Violation> {
    let verified = UnverifiedToken::from(token).verify(&key());
    expect_ok(verified, "a minted token does not verify")
}

/// Mints the root's token; `None` if a name is invalid or the token would be too long.
fn make_root(asked: &NarrowingArguments) -> Result<Option<VerifiedToken>, Violation> {
    let Ok(narrowing) = asked.clone().into_narrowing() else {
        return Ok(None);
    };
    let spec = RootSpec {
        task: TaskId::from_bits(1),
        agent: expect_ok("builder".parse(), "the agent's name is refused")?,
        holder: None,
        initiated_by: None,
        envelope: narrowing.of(Envelope::any(EXPIRES, true, MAX_DEPTH)),
    };
    match mint_root(&key(), EpochId::from_bits(1), &spec) {
        Ok(token) => verified(token).map(Some),
        Err(MintError::TooLong { .. }) => Ok(None),
        Err(error) => Err(format!("the root is not minted: {error}")),
    }
}

/// Mints the child's token; `None` if it is refused correctly.
fn make_child(
    parent: &VerifiedToken,
    asked: &NarrowingArguments,
    names: &Names,
) -> Result<Option<VerifiedToken>, Violation> {
    let Ok(narrowing) = asked.clone().into_narrowing() else {
        return Ok(None);
    };
    let spec = ChildSpec {
        task: TaskId::from_bits(u128::from(parent.depth()) + 2),
        agent: parent.agent().clone(),
        holder: None,
        narrowing,
        expires: EXPIRES,
        can_delegate: true,
        delegation_depth: None,
    };
    match mint_child(&key(), parent, &spec) {
        Ok(token) => {
            ensure(!names.exceeds(asked, parent.envelope()), || {
                format!("a child that exceeds its parent is minted: {asked:?}")
            })?;
            verified(token).map(Some)
        }
        Err(MintError::Widens { .. }) => {
            ensure(names.exceeds(asked, parent.envelope()), || {
                format!("a child within its parent's authority is refused: {asked:?}")
            })?;
            Ok(None)
        }
        Err(MintError::TooLong { .. } | MintError::DepthUsedUp | MintError::TooDeep) => Ok(None),
        Err(error) => Err(format!("the child is not minted: {error}")),
    }
}

/// Every name in an input, from lists and from pairs, and one name that is not in it.
struct Names {
    keys: BTreeSet<String>,
    values: BTreeSet<String>,
}

type Pairs = Option<BTreeMap<String, BTreeSet<String>>>;
type List = Option<BTreeSet<String>>;

fn listed(list: &List, name: &str) -> bool {
    list.as_ref().is_none_or(|list| list.contains(name))
}

fn paired(pairs: &Pairs, key: &str, value: &str) -> bool {
    let values = |pairs: &BTreeMap<String, BTreeSet<String>>| {
        pairs.get(key).is_some_and(|values| values.contains(value))
    };
    pairs.as_ref().is_none_or(values)
}

/// The three paired dimensions.
#[derive(Clone, Copy)]
enum PairedDimension {
    Ssh,
    Http,
    Mcp,
}

impl PairedDimension {
    const ALL: [Self; 3] = [Self::Ssh, Self::Http, Self::Mcp];

    fn named(self, asked: &NarrowingArguments, key: &str, value: &str) -> bool {
        match self {
            Self::Ssh => {
                paired(&asked.ssh, key, value)
                    && listed(&asked.targets, key)
                    && listed(&asked.roles, value)
            }
            Self::Http => {
                paired(&asked.http, key, value)
                    && listed(&asked.services, key)
                    && listed(&asked.methods, value)
            }
            Self::Mcp => paired(&asked.mcp, key, value) && listed(&asked.remotes, key),
        }
    }

    /// Returns whether the envelope allows the pair; `None` if a text is not a valid name.
    fn allowed(self, envelope: &Envelope, key: &str, value: &str) -> Option<bool> {
        Some(match self {
            Self::Ssh => envelope.allows_ssh(&key.parse().ok()?, &value.parse().ok()?),
            Self::Http => envelope.allows_http(&key.parse().ok()?, &value.parse().ok()?),
            Self::Mcp => envelope.allows_mcp(&key.parse().ok()?, &value.parse().ok()?),
        })
    }

    /// Returns the pairs, keys and values that an envelope names in this dimension.
    fn of(self, asked: &NarrowingArguments) -> (&Pairs, &List, &List) {
        match self {
            Self::Ssh => (&asked.ssh, &asked.targets, &asked.roles),
            Self::Http => (&asked.http, &asked.services, &asked.methods),
            Self::Mcp => (&asked.mcp, &asked.remotes, &None),
        }
    }
}

impl Names {
    fn of(asked: &[NarrowingArguments]) -> Self {
        let mut names = Self {
            keys: BTreeSet::from(["elsewhere".to_owned()]),
            values: BTreeSet::from(["OTHER".to_owned()]),
        };
        for asked in asked {
            for dimension in PairedDimension::ALL {
                let (pairs, keys, values) = dimension.of(asked);
                for (key, of) in pairs.iter().flatten() {
                    names.keys.insert(key.clone());
                    names.values.extend(of.iter().cloned());
                }
                names.keys.extend(keys.iter().flatten().cloned());
                names.values.extend(values.iter().flatten().cloned());
            }
        }
        names
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = || self.values.iter().map(String::as_str);
        self.keys
            .iter()
            .flat_map(move |key| values().map(move |value| (key.as_str(), value)))
    }

    /// Checks that an envelope allows exactly the pairs that every task of a lineage names.
    fn check(&self, lineage: &[&NarrowingArguments], envelope: &Envelope) -> Result<(), Violation> {
        for dimension in PairedDimension::ALL {
            for (key, value) in self.pairs() {
                let expected = lineage
                    .iter()
                    .all(|asked| dimension.named(asked, key, value));
                let found = dimension.allowed(envelope, key, value);
                ensure(found.is_none_or(|found| found == expected), || {
                    format!("{key}:{value}: allowed {found:?}, expected {expected}")
                })?;
            }
        }
        Ok(())
    }

    /// Returns whether a child names anything that its parent cannot use.
    fn exceeds(&self, asked: &NarrowingArguments, parent: &Envelope) -> bool {
        PairedDimension::ALL.into_iter().any(|dimension| {
            let can = |key: &str, value: &str| dimension.allowed(parent, key, value) == Some(true);
            let (pairs, keys, values) = dimension.of(asked);
            let pair = pairs
                .iter()
                .flatten()
                .any(|(key, of)| of.iter().any(|value| !can(key, value)));
            let key = keys
                .iter()
                .flatten()
                .any(|key| !self.values.iter().any(|value| can(key, value)));
            let value = values
                .iter()
                .flatten()
                .any(|value| !self.keys.iter().any(|key| can(key, value)));
            pair || key || value
        })
    }
}
