//! The argument `envelope` of `task_create` and `task_delegate`, from its JSON to what is left of a token.

use std::collections::{BTreeMap, BTreeSet};

use ephyr_names::{EpochId, TaskId, Timestamp};
use ephyr_token::{
    ChildSpec, Envelope, MAX_DEPTH, MintError, NarrowingArguments, RootKey, RootSpec, Token,
    UnverifiedToken, VerifiedToken, mint_child, mint_root,
};

use crate::{Broken, ensure, must};

const EXPIRES: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// Names in one input; what is asked of each pair of them grows with the square.
const MOST_NAMES: usize = 24;

/// A task has exactly what its own envelope and those of all its ancestors name: nothing that its parent
/// has not, and nothing less. A child that asks for what its parent cannot do is refused, and no other is.
///
/// The input is a JSON list of envelopes, the root's first, each further one of the child of the one before.
///
/// # Errors
/// How it is broken.
pub fn task_envelope(input: &[u8]) -> Result<(), Broken> {
    let Ok(asked) = serde_json::from_slice::<Vec<NarrowingArguments>>(input) else {
        return Ok(());
    };
    let names = Names::of(&asked);
    let few = [&names.keys, &names.values]
        .into_iter()
        .all(|set| set.len() <= MOST_NAMES);
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
            "another lineage".to_owned()
        })?;
        names.check(&lineage, child.envelope())?;
        token = child;
    }
    Ok(())
}

fn key() -> RootKey {
    RootKey::from_bytes([7; 32])
}

fn verified(token: Token) -> Result<VerifiedToken, Broken> {
    let verified = UnverifiedToken::from(token).verify(&key());
    must(verified, "what was minted verifies")
}

/// The root's token; `None` where the names are none or the token would be too long.
fn make_root(asked: &NarrowingArguments) -> Result<Option<VerifiedToken>, Broken> {
    let Ok(narrowing) = asked.clone().into_narrowing() else {
        return Ok(None);
    };
    let spec = RootSpec {
        task: TaskId::from_bits(1),
        agent: must("builder".parse(), "a name")?,
        holder: None,
        initiated_by: None,
        envelope: narrowing.of(Envelope::any(EXPIRES, true, MAX_DEPTH)),
    };
    match mint_root(&key(), EpochId::from_bits(1), &spec) {
        Ok(token) => verified(token).map(Some),
        Err(MintError::TooLong { .. }) => Ok(None),
        Err(error) => Err(format!("no root: {error}")),
    }
}

/// The child's token; `None` where it is rightly refused.
fn make_child(
    parent: &VerifiedToken,
    asked: &NarrowingArguments,
    names: &Names,
) -> Result<Option<VerifiedToken>, Broken> {
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
            ensure(!names.asks_for_more(asked, parent.envelope()), || {
                format!("a child that asks for more is not refused: {asked:?}")
            })?;
            verified(token).map(Some)
        }
        Err(MintError::Widens { .. }) => {
            ensure(names.asks_for_more(asked, parent.envelope()), || {
                format!("refused, though its parent can do all of it: {asked:?}")
            })?;
            Ok(None)
        }
        Err(MintError::TooLong { .. } | MintError::DepthUsedUp | MintError::TooDeep) => Ok(None),
        Err(error) => Err(format!("no child: {error}")),
    }
}

/// Every name of an input, those that stand alone and those that stand in pairs alike, and one that is not in it.
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

/// The three kinds of pairs, by what JSON says of them alone.
#[derive(Clone, Copy)]
enum Kind {
    Ssh,
    Http,
    Mcp,
}

impl Kind {
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

    /// `None` where the texts are no names of this kind.
    fn allowed(self, envelope: &Envelope, key: &str, value: &str) -> Option<bool> {
        Some(match self {
            Self::Ssh => envelope.allows_ssh(&key.parse().ok()?, &value.parse().ok()?),
            Self::Http => envelope.allows_http(&key.parse().ok()?, &value.parse().ok()?),
            Self::Mcp => envelope.allows_mcp(&key.parse().ok()?, &value.parse().ok()?),
        })
    }

    /// What an envelope names of this kind: pairs, keys, values.
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
            for kind in Kind::ALL {
                let (pairs, keys, values) = kind.of(asked);
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

    /// Whether an envelope allows exactly what every task of a lineage names.
    fn check(&self, lineage: &[&NarrowingArguments], envelope: &Envelope) -> Result<(), Broken> {
        for kind in Kind::ALL {
            for (key, value) in self.pairs() {
                let expected = lineage.iter().all(|asked| kind.named(asked, key, value));
                let found = kind.allowed(envelope, key, value);
                ensure(found.is_none_or(|found| found == expected), || {
                    format!("{key}:{value} is allowed: {found:?}, named: {expected}")
                })?;
            }
        }
        Ok(())
    }

    /// Whether a child names anything with which its parent can do nothing.
    fn asks_for_more(&self, asked: &NarrowingArguments, parent: &Envelope) -> bool {
        Kind::ALL.into_iter().any(|kind| {
            let can = |key: &str, value: &str| kind.allowed(parent, key, value) == Some(true);
            let (pairs, keys, values) = kind.of(asked);
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
