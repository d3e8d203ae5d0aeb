//! Random sequences of minting, delegating, appending and binding, compared with a model that represents a
//! token as the set of actions that it allows.

#[cfg(test)]
mod support;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::str::FromStr;

use ephyr_names::{AgentName, TaskId, Timestamp};
use ephyr_token::{
    ChildSpec, Envelope, Grants, HolderCaveat, Narrowing, RootSpec, Scope, Token, mint_child,
    mint_root, rebind,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use support::{epoch, holder, key, name, task, verified};

const DIMENSIONS: [&str; 8] = [
    "ssh", "http", "mcp", "target", "role", "service", "method", "remote",
];

/// An action: paired dimension, key and value.
type Action = (&'static str, &'static str, &'static str);

fn every_action() -> BTreeSet<Action> {
    let kinds = [
        ("ssh", ["r", "s"]),
        ("http", ["GET", "PUT"]),
        ("mcp", ["r", "s"]),
    ];
    kinds
        .into_iter()
        .flat_map(|(kind, values)| {
            ["a", "b", "c"].map(move |on| values.map(move |value| (kind, on, value)))
        })
        .flatten()
        .collect()
}

/// Returns the items that a list in this dimension can have: actions if it is paired, names if it is flat.
fn items(dimension: &str) -> Vec<Action> {
    let named = |on| ("", on, "");
    match dimension {
        "role" => ["r", "s"].map(named).to_vec(),
        "method" => ["GET", "PUT"].map(named).to_vec(),
        "target" | "service" | "remote" => ["a", "b", "c"].map(named).to_vec(),
        paired => every_action()
            .into_iter()
            .filter(|(kind, _, _)| *kind == paired)
            .collect(),
    }
}

/// Returns whether a list allows an action, by naming it or by not applying to it.
fn passes(dimension: &str, list: &[Action], action: Action) -> bool {
    let names = |name| list.iter().any(|(_, item, _)| *item == name);
    match (dimension, action) {
        ("ssh" | "http" | "mcp", (kind, _, _)) => kind != dimension || list.contains(&action),
        ("target", ("ssh", on, _)) | ("service", ("http", on, _)) | ("remote", ("mcp", on, _)) => {
            names(on)
        }
        ("role", ("ssh", _, value)) | ("method", ("http", _, value)) => names(value),
        _ => true,
    }
}

/// A list in one dimension; `None` is `*`.
type List = (&'static str, Option<Vec<Action>>);

#[derive(Debug, Clone)]
enum Op {
    Root {
        id: u128,
        agent: &'static str,
        lists: Vec<List>,
        expires: i64,
        may: bool,
        depth: u8,
    },
    Delegate {
        of: Index,
        id: u128,
        agent: &'static str,
        lists: Vec<List>,
        expires: i64,
        may: bool,
        depth: Option<u8>,
        holder: Option<u8>,
    },
    AppendList(Index, &'static str, Vec<Action>),
    AppendExpiry(Index, i64),
    AppendMay(Index, bool),
    AppendDepth(Index, u8),
    Bind(Index, u8),
}

fn lists(max: usize) -> impl Strategy<Value = Vec<List>> {
    let dimensions = subsequence(DIMENSIONS.to_vec(), 0..=max);
    dimensions.prop_flat_map(|dimensions| {
        let list = |dimension| {
            let all = items(dimension);
            let some = subsequence(all.clone(), 1..=all.len());
            let items =
                prop_oneof![1 => Just(None), 1 => Just(Some(vec![])), 8 => some.prop_map(Some)];
            (Just(dimension), items)
        };
        dimensions.into_iter().map(list).collect::<Vec<_>>()
    })
}

fn op() -> impl Strategy<Value = Op> {
    let agents = || select(vec!["x", "y", "z"]);
    let ids = || 1..60u128;
    let expiry = || prop_oneof![3 => Just(90i64), 1 => 50..120i64];
    let may = || prop_oneof![4 => Just(true), 1 => Just(false)];
    let root = (ids(), agents(), lists(4), expiry(), may(), 0..=6u8).prop_map(
        |(id, agent, lists, expires, may, depth)| Op::Root {
            id,
            agent,
            lists,
            expires,
            may,
            depth,
        },
    );
    let delegate = (
        (any::<Index>(), ids(), agents(), lists(3), expiry(), may()),
        (
            proptest::option::weighted(0.3, 0..6u8),
            proptest::option::of(1..4u8),
        ),
    )
        .prop_map(
            |((of, id, agent, lists, expires, may), (depth, holder))| Op::Delegate {
                of,
                id,
                agent,
                lists,
                expires,
                may,
                depth,
                holder,
            },
        );
    let append_list = (any::<Index>(), lists(1)).prop_map(|(to, mut lists)| match lists.pop() {
        Some((dimension, list)) => Op::AppendList(to, dimension, list.unwrap_or_default()),
        None => Op::AppendMay(to, true),
    });
    prop_oneof![
        2 => root,
        8 => delegate,
        3 => append_list,
        1 => (any::<Index>(), 50..120i64).prop_map(|(to, at)| Op::AppendExpiry(to, at)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(to, may)| Op::AppendMay(to, may)),
        1 => (any::<Index>(), 0..8u8).prop_map(|(to, depth)| Op::AppendDepth(to, depth)),
        2 => (any::<Index>(), 1..4u8).prop_map(|(of, holder)| Op::Bind(of, holder)),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Model {
    actions: BTreeSet<Action>,
    limited: BTreeSet<&'static str>,
    expires: i64,
    may: bool,
    depth: u8,
    lineage: Vec<(u128, &'static str)>,
    holder: Option<u8>,
}

impl Model {
    fn narrow(&mut self, dimension: &'static str, list: &[Action]) {
        self.actions
            .retain(|action| passes(dimension, list, *action));
        self.limited.insert(dimension);
    }

    /// Returns whether the token has an action for every item.
    fn has(&self, dimension: &str, list: &[Action]) -> bool {
        list.iter().all(|item| {
            let one = [*item];
            let about = |action: &Action| match dimension {
                "ssh" | "http" | "mcp" => action == item,
                "target" | "role" => action.0 == "ssh" && passes(dimension, &one, *action),
                "service" | "method" => action.0 == "http" && passes(dimension, &one, *action),
                _ => action.0 == "mcp" && passes(dimension, &one, *action),
            };
            self.actions.iter().any(about)
        })
    }

    fn apply(&mut self, lists: &[List]) {
        for (dimension, list) in lists {
            if let Some(list) = list {
                self.narrow(dimension, list);
            }
        }
    }
}

/// Applies an operation to the model; returns the new token's model, or `None` if it must be refused.
fn expected(models: &[Model], op: &Op) -> Option<Model> {
    match op {
        Op::Root {
            id,
            agent,
            lists,
            expires,
            may,
            depth,
        } => (*depth <= 5).then(|| {
            let mut model = Model {
                actions: every_action(),
                limited: BTreeSet::new(),
                expires: *expires,
                may: *may,
                depth: *depth,
                lineage: vec![(*id, agent)],
                holder: None,
            };
            model.apply(lists);
            model
        }),
        Op::Delegate {
            of,
            id,
            agent,
            lists,
            expires,
            may,
            depth,
            holder,
        } => {
            let parent = of.get(models);
            let left = parent.depth.checked_sub(1)?;
            let fits = lists.iter().all(|(dimension, list)| match list {
                None => !parent.limited.contains(dimension),
                Some(list) => parent.has(dimension, list),
            });
            let fresh = parent.lineage.iter().all(|(task, _)| task != id);
            let deep = parent.lineage.len() > 5 || depth.is_some_and(|depth| depth > left);
            if !parent.may || !fits || !fresh || deep || *expires > parent.expires {
                return None;
            }
            let mut child = Model {
                expires: *expires,
                may: *may,
                ..parent.clone()
            };
            child.depth = depth.unwrap_or(if *may { left } else { 0 });
            child.lineage.push((*id, agent));
            child.holder = *holder;
            child.apply(lists);
            Some(child)
        }
        Op::AppendList(to, dimension, list) => {
            let mut model = to.get(models).clone();
            model.narrow(dimension, list);
            Some(model)
        }
        Op::AppendExpiry(to, at) => {
            let old = to.get(models).clone();
            Some(Model {
                expires: old.expires.min(*at),
                ..old
            })
        }
        Op::AppendMay(to, may) => {
            let old = to.get(models).clone();
            Some(Model {
                may: old.may && *may,
                ..old
            })
        }
        Op::AppendDepth(to, depth) => {
            let old = to.get(models).clone();
            Some(Model {
                depth: old.depth.min(*depth),
                ..old
            })
        }
        Op::Bind(of, holder) => {
            let old = of.get(models).clone();
            let free = old.holder.is_none_or(|bound| bound == *holder);
            free.then_some(Model {
                holder: Some(*holder),
                ..old
            })
        }
    }
}

fn perform(tokens: &[Token], op: &Op) -> Option<Token> {
    match op {
        Op::Root {
            id,
            agent,
            lists,
            expires,
            may,
            depth,
        } => {
            let Narrowing {
                ssh,
                http,
                mcp,
                targets,
                roles,
                services,
                methods,
                remotes,
            } = narrowing(lists);
            let any = Envelope::any(time(*expires), *may, *depth);
            let envelope = Envelope {
                ssh: ssh.unwrap_or(any.ssh),
                http: http.unwrap_or(any.http),
                mcp: mcp.unwrap_or(any.mcp),
                targets: targets.unwrap_or(any.targets),
                roles: roles.unwrap_or(any.roles),
                services: services.unwrap_or(any.services),
                methods: methods.unwrap_or(any.methods),
                remotes: remotes.unwrap_or(any.remotes),
                ..any
            };
            let (task, agent) = (task(*id), name(agent));
            let spec = RootSpec {
                task,
                agent,
                holder: None,
                initiated_by: None,
                envelope,
            };
            mint_root(&key(), epoch(), &spec).ok()
        }
        Op::Delegate {
            of,
            id,
            agent,
            lists,
            expires,
            may,
            depth,
            holder: bound,
        } => {
            let spec = ChildSpec {
                task: task(*id),
                agent: name(agent),
                holder: bound.map(holder),
                narrowing: narrowing(lists),
                expires: time(*expires),
                can_delegate: *may,
                delegation_depth: *depth,
            };
            mint_child(&key(), &verified(of.get(tokens)), &spec).ok()
        }
        Op::AppendList(to, dimension, list) => {
            to.get(tokens).append(&holder_list(dimension, list)).ok()
        }
        Op::AppendExpiry(to, at) => to
            .get(tokens)
            .append(&HolderCaveat::expires_before(time(*at)))
            .ok(),
        Op::AppendMay(to, may) => to
            .get(tokens)
            .append(&HolderCaveat::can_delegate(*may))
            .ok(),
        Op::AppendDepth(to, depth) => to
            .get(tokens)
            .append(&HolderCaveat::delegation_depth(*depth))
            .ok(),
        Op::Bind(of, n) => rebind(&key(), &verified(of.get(tokens)), &holder(*n)).ok(),
    }
}

fn time(n: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000 + n * 500)
}

fn narrowing(lists: &[List]) -> Narrowing {
    let mut narrowing = Narrowing::default();
    for (dimension, list) in lists {
        let list = list.as_deref();
        match *dimension {
            "ssh" => narrowing.ssh = Some(paired(list)),
            "http" => narrowing.http = Some(paired(list)),
            "mcp" => narrowing.mcp = Some(paired(list)),
            "target" => narrowing.targets = Some(flat(list)),
            "role" => narrowing.roles = Some(flat(list)),
            "service" => narrowing.services = Some(flat(list)),
            "method" => narrowing.methods = Some(flat(list)),
            _ => narrowing.remotes = Some(flat(list)),
        }
    }
    narrowing
}

fn paired<K: Ord + FromStr, V: Ord + FromStr>(list: Option<&[Action]>) -> Grants<K, V>
where
    K::Err: Debug,
    V::Err: Debug,
{
    let pairs = |list: &[Action]| {
        list.iter()
            .map(|(_, on, value)| (name(on), name(value)))
            .collect()
    };
    list.map_or(Grants::Any, pairs)
}

fn flat<T: Ord + FromStr>(list: Option<&[Action]>) -> Scope<T>
where
    T::Err: Debug,
{
    list.map_or(Scope::Any, |list| {
        list.iter().map(|(_, on, _)| name(on)).collect()
    })
}

fn holder_list(dimension: &str, list: &[Action]) -> HolderCaveat {
    let names = list.iter().map(|(_, on, _)| *on);
    let pairs = list.iter().map(|(_, on, value)| (*on, *value));
    match dimension {
        "ssh" => HolderCaveat::ssh(pairs.map(|(on, value)| (name(on), name(value)))),
        "http" => HolderCaveat::http(pairs.map(|(on, value)| (name(on), name(value)))),
        "mcp" => HolderCaveat::mcp(pairs.map(|(on, value)| (name(on), name(value)))),
        "target" => HolderCaveat::targets(names.map(name)),
        "role" => HolderCaveat::roles(names.map(name)),
        "service" => HolderCaveat::services(names.map(name)),
        "method" => HolderCaveat::methods(names.map(name)),
        _ => HolderCaveat::remotes(names.map(name)),
    }
}

fn allows(envelope: &Envelope, (kind, on, value): Action) -> bool {
    match kind {
        "ssh" => envelope.allows_ssh(&name(on), &name(value)),
        "http" => envelope.allows_http(&name(on), &name(value)),
        _ => envelope.allows_mcp(&name(on), &name(value)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_operations_agree_with_the_model(
        ops in vec(op(), 1..60)
    ) {
        let (mut tokens, mut models) = (Vec::new(), Vec::new());
        for op in &ops {
            if tokens.is_empty() && !matches!(op, Op::Root { .. }) {
                continue;
            }
            let (token, model) = (perform(&tokens, op), expected(&models, op));
            prop_assert_eq!(token.is_some(), model.is_some(), "{:?}", op);
            let (Some(token), Some(model)) = (token, model) else { continue };
            let read = verified(&token);
            let actions: BTreeSet<Action> =
                every_action().into_iter().filter(|action| allows(read.envelope(), *action)).collect();
            prop_assert_eq!(&actions, &model.actions, "{:?}", op);
            prop_assert_eq!(read.envelope().expires, time(model.expires));
            prop_assert_eq!(read.envelope().can_delegate, model.may);
            prop_assert_eq!(read.envelope().delegation_depth, model.depth);
            let lineage: Vec<_> = read.lineage().map(TaskId::to_bits).collect();
            let agents: Vec<_> = read.agents().map(AgentName::as_str).collect();
            let (tasks, names): (Vec<_>, Vec<_>) = model.lineage.iter().copied().unzip();
            prop_assert_eq!((lineage, agents), (tasks, names));
            prop_assert_eq!(read.holder().copied(), model.holder.map(holder));
            prop_assert_eq!(read.root().to_bits(), model.lineage[0].0);
            tokens.push(token);
            models.push(model);
        }
    }
}
