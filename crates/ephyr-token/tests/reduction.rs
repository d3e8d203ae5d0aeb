//! Reduction compared with the naive reader, and the invariant of appending: never more authority, never
//! another task, agent or holder.

#[cfg(test)]
mod support;

use ephyr_token::{TokenError, VerifiedToken, explain};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use support::forge::{Forge, ROOT, append};
use support::{KEY, naive, name, verify};

const KEYS: [&str; 3] = ["a", "b-1", "c"];
const VALUES: [&str; 3] = ["read", "op", "x"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];

fn list(subject: &'static str, star: bool) -> BoxedStrategy<String> {
    let values = if subject == "http" || subject == "method" {
        METHODS
    } else {
        VALUES
    };
    let items: BoxedStrategy<Vec<String>> = match subject {
        "ssh" | "http" | "mcp" => subsequence(KEYS.to_vec(), 0..=3)
            .prop_shuffle()
            .prop_flat_map(move |keys| {
                let item = move |key: &'static str| {
                    subsequence(values.to_vec(), 1..=3)
                        .prop_shuffle()
                        .prop_map(move |values| format!("{key}:{}", values.join("+")))
                };
                keys.into_iter().map(item).collect::<Vec<_>>()
            })
            .boxed(),
        "role" | "method" => names(&values),
        _ => names(&KEYS),
    };
    let listed = items.prop_map(move |items| format!("{subject} IN [{}]", items.join(",")));
    if star {
        prop_oneof![2 => listed, 1 => Just(format!("{subject} IN [*]"))].boxed()
    } else {
        listed.boxed()
    }
}

fn names(names: &[&'static str; 3]) -> BoxedStrategy<Vec<String>> {
    let chosen = subsequence(names.to_vec(), 0..=3).prop_shuffle();
    chosen
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
        .boxed()
}

fn limit(star: bool) -> BoxedStrategy<String> {
    let subjects = [
        "ssh", "http", "mcp", "target", "role", "service", "method", "remote",
    ];
    let lists = select(subjects.to_vec()).prop_flat_map(move |subject| list(subject, star));
    prop_oneof![
        8 => lists,
        1 => (0..60u32, 0..1000u32).prop_map(|(s, ms)| match ms {
            0..500 => format!("expires_before = 2027-02-28T23:59:{s:02}Z"),
            _ => format!("expires_before = 2024-02-29T00:00:{s:02}.{ms:03}Z"),
        }),
        1 => any::<bool>().prop_map(|may| format!("can_delegate = {may}")),
        1 => (0..7u8).prop_map(|n| format!("delegation_depth <= {n}")),
    ]
    .boxed()
}

/// Generates malformed and misplaced caveats.
fn oddity() -> impl Strategy<Value = String> {
    let fixed = [
        "",
        " ",
        "task",
        "task = ",
        "task = 01KAT00000000000000000R00T",
        "agent = builder",
        "agent = ",
        "agent = a b",
        "holder = AAAA",
        "initiated_by = uid:1001",
        "initiated_by = ",
        "holder = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "task = 01KAT0000000000000000CH11D",
        "holder = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB",
        "ssh IN [*]",
        "ssh IN [a]",
        "ssh IN [a:]",
        "ssh IN [:read]",
        "ssh IN [a:read,a:op]",
        "ssh IN [a:read+read]",
        "ssh IN [a:read,]",
        "ssh IN [*,a:read]",
        "ssh IN []",
        "ssh  IN []",
        "ssh IN [] ",
        "SSH IN []",
        "ssh NOT IN [a:read]",
        "target IN [a,a]",
        "target IN [a, b-1]",
        "target = a",
        "target IN a",
        "method IN [get]",
        "expires_before = 2027-02-29T00:00:00Z",
        "can_delegate = True",
        "expires_before = 2027-02-28T00:00:60Z",
        "expires_before = 2027-02-28T00:00:00.000Z",
        "expires_before = 2027-02-28T00:00:00+00:00",
        "expires_before <= 2027-02-28T00:00:00Z",
        "delegation_depth <= 01",
        "delegation_depth <= 256",
        "delegation_depth <= -1",
        "delegation_depth = 1",
        "delegation_depth <= ",
        "mcp IN [b-1:_x.y]",
        "mcp IN [b.1:x]",
        "remote IN [a.b]",
        "ssh IN [a:*]",
    ];
    prop_oneof![3 => select(fixed.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,24}"]
}

fn segment(n: usize) -> impl Strategy<Value = Vec<String>> {
    let task = if n == 0 {
        ROOT.to_owned()
    } else {
        format!("01KAT000000000000000000CH{n}")
    };
    let holder = "holder = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned();
    let head = (
        select(vec!["a", "b", "c"]),
        proptest::option::of(Just(holder)),
        any::<bool>(),
    );
    let complete = if n == 0 { 9u32 } else { 3 };
    let subjects = [
        "ssh", "http", "mcp", "target", "role", "service", "method", "remote",
    ];
    let dimensions: Vec<_> = subjects
        .into_iter()
        .map(|subject| proptest::option::weighted(f64::from(complete) / 10.0, list(subject, true)))
        .collect();
    let tail = "expires_before = 2027-01-15T08:00:00Z".to_owned();
    let tail = proptest::option::weighted(0.97, Just(tail));
    (head, dimensions, tail, vec(limit(true), 0..3)).prop_map(move |(head, dims, tail, more)| {
        let mut caveats = vec![format!("task = {task}"), format!("agent = {}", head.0)];
        caveats.extend(head.1);
        caveats.extend(head.2.then(|| "initiated_by = uid:1001".to_owned()));
        caveats.extend(dims.into_iter().flatten());
        caveats.extend(tail);
        caveats.extend(more);
        caveats
    })
}

#[derive(Debug, Clone)]
enum Damage {
    None,
    Insert(Index, String),
    Swap(Index, Index),
    Drop(Index),
    Section(i8),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => Just(Damage::None),
        2 => (any::<Index>(), oddity()).prop_map(|(at, text)| Damage::Insert(at, text)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Damage::Swap(a, b)),
        1 => any::<Index>().prop_map(Damage::Drop),
        1 => (-2..=2i8).prop_map(Damage::Section),
    ]
}

/// Generates the number of broker caveats and the caveats.
fn caveats() -> impl Strategy<Value = (usize, Vec<String>)> {
    let segments = (1..=7usize).prop_flat_map(|n| (0..n).map(segment).collect::<Vec<_>>());
    (segments, vec(limit(false), 0..5), damage()).prop_map(|(segments, holder, damage)| {
        let mut caveats = segments.concat();
        let mut broker = caveats.len();
        caveats.extend(holder);
        match damage {
            Damage::None => {}
            Damage::Insert(at, text) => {
                let at = at.index(caveats.len() + 1);
                caveats.insert(at, text);
                broker += usize::from(at < broker);
            }
            Damage::Swap(a, b) => {
                let (a, b) = (a.index(caveats.len()), b.index(caveats.len()));
                caveats.swap(a, b);
            }
            Damage::Drop(at) => {
                let at = at.index(caveats.len());
                caveats.remove(at);
                broker -= usize::from(at < broker);
            }
            Damage::Section(by) => broker = broker.saturating_add_signed(by.into()),
        }
        (broker, caveats)
    })
}

fn segments_of(token: &VerifiedToken) -> Vec<(String, String, Option<String>)> {
    let text = |s: &ephyr_token::Segment| {
        (
            s.task.to_string(),
            s.agent.to_string(),
            s.holder.map(|key| key.to_string()),
        )
    };
    token.segments().iter().map(text).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn reduction_agrees_with_the_naive_reader((broker, caveats) in caveats()) {
        let read = verify(&Forge::new(KEY, broker, &caveats).text());
        match (naive::reduce(ROOT, broker, &caveats), read) {
            (Some(naive), Ok(token)) => {
                let envelope = serde_json::to_value(token.envelope()).unwrap();
                prop_assert_eq!(naive.envelope, envelope);
                prop_assert_eq!(naive.segments, segments_of(&token));
            }
            (None, Err(_)) => {}
            (naive, read) => prop_assert!(false, "naive {naive:?}\nread {read:?}"),
        }
    }

    #[test]
    fn appending_never_widens_or_changes_identity(
        (broker, caveats) in caveats(),
        appended in vec(prop_oneof![3 => limit(true), 1 => oddity()], 1..5),
    ) {
        let mut text = Forge::new(KEY, broker, &caveats).text();
        let Ok(mut before) = verify(&text) else { return Ok(()) };
        for caveat in appended {
            text = append(&text, caveat.as_bytes());
            let Ok(after) = verify(&text) else { return Ok(()) };
            prop_assert!(after.envelope().is_within(before.envelope()), "{caveat}");
            prop_assert_eq!(after.segments(), before.segments());
            prop_assert_eq!((after.task(), after.agent()), (before.task(), before.agent()));
            prop_assert_eq!((after.holder(), after.root()), (before.holder(), before.root()));
            for (key, value) in KEYS.iter().flat_map(|key| VALUES.map(|value| (key, value))) {
                let (target, role) = (name(key), name(value));
                let (remote, tool) = (name(key), name(value));
                prop_assert!(!after.envelope().allows_ssh(&target, &role)
                    || before.envelope().allows_ssh(&target, &role), "{caveat}");
                prop_assert!(!after.envelope().allows_mcp(&remote, &tool)
                    || before.envelope().allows_mcp(&remote, &tool), "{caveat}");
            }
            before = after;
        }
    }

    #[test]
    fn appended_bytes_narrow_or_are_refused(bytes in vec(any::<u8>(), 0..40)) {
        let text = Forge::new(KEY, 13, &support::OPEN_ROOT).text();
        let before = verify(&text).unwrap();
        match verify(&append(&text, &bytes)) {
            Ok(after) => prop_assert!(after.envelope().is_within(before.envelope())),
            Err(error) => prop_assert!(matches!(
                error,
                TokenError::MalformedCaveat { index: 13, .. }
            ), "{error:?}"),
        }
    }

    #[test]
    fn explain_agrees_with_verify((broker, caveats) in caveats()) {
        let text = Forge::new(KEY, broker, &caveats).text();
        let Ok(explained) = explain(&text) else {
            prop_assert!(verify(&text).is_err());
            return Ok(());
        };
        prop_assert!(!explained.verified);
        prop_assert_eq!([explained.broker_caveats, explained.holder_caveats].concat(), caveats);
        match verify(&text) {
            Ok(token) => {
                prop_assert_eq!(explained.envelope.as_ref(), Some(token.envelope()));
                prop_assert_eq!(&explained.segments[..], token.segments());
                prop_assert_eq!(explained.refused, None);
            }
            Err(error) => prop_assert_eq!(explained.refused, Some(error.to_string())),
        }
    }
}

/// The properties prove nothing unless the generator makes both valid and invalid tokens.
#[test]
fn generator_makes_valid_tokens_of_every_depth_and_invalid_ones() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut good, mut bad) = ([0; 6], 0);
    for _ in 0..2000 {
        let (broker, caveats) = caveats().new_tree(&mut runner).unwrap().current();
        match verify(&Forge::new(KEY, broker, &caveats).text()) {
            Ok(token) => good[usize::from(token.depth())] += 1,
            Err(_) => bad += 1,
        }
    }
    assert!(
        bad > 300 && good.iter().all(|count| *count > 80),
        "{good:?} {bad}"
    );
}
