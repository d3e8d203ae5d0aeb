//! Writes the test vectors of `vectors/`, one file each, named by their property or fault:
//! `cargo run -p ephyr-token --example token_vectors -- crates/ephyr-token/vectors`.
//!
//! An encoder that shares no code with the crate builds the tokens, so invalid ones are possible as well.
//! The expected outcomes are stated here, not computed.

use std::error::Error;
use std::path::Path;

use serde_json::{Value, json};

#[path = "../tests/support/forge.rs"]
#[expect(clippy::expect_used, reason = "written for tests")]
mod forge;

use forge::{EPOCH, Forge, ROOT, append, decode, encode};

const KEY: [u8; 32] = *b"a root key of thirty-two bytes..";
const HOLDER: &str = "holder = ypOsFwUYcHHWewHx0jGIsxR6-3wKGW5hkPrvuSAj8Nw";

type Run<T> = Result<T, Box<dyn Error>>;

fn main() -> Run<()> {
    let directory = std::env::args()
        .nth(1)
        .ok_or("missing argument: the directory to write to")?;
    let mut vectors = good();
    vectors.extend(bad_bytes());
    vectors.extend(bad_caveats());
    vectors.extend(bad_sections());
    for (name, token, outcome) in vectors {
        write(Path::new(&directory), name, &token, outcome)?;
    }
    Ok(())
}

/// Name, token, and the expected envelope or error code.
type Vector = (&'static str, String, Result<Value, &'static str>);

fn write(to: &Path, name: &str, token: &str, outcome: Result<Value, &str>) -> Run<()> {
    let key: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut vector = json!({
        "name": name, "token": token, "root_key": key, "valid": outcome.is_ok(),
    });
    match outcome {
        Ok(envelope) => vector["envelope"] = envelope,
        Err(code) => vector["error"] = json!(code),
    }
    let text = serde_json::to_string_pretty(&vector)? + "\n";
    Ok(std::fs::write(to.join(format!("{name}.json")), text)?)
}

/// Returns a root segment that names all dimensions, with some caveats replaced.
fn root(replace: &[&str]) -> Vec<String> {
    let caveats = [
        &format!("task = {ROOT}"),
        "agent = builder",
        "ssh IN [*]",
        "http IN [*]",
        "mcp IN [*]",
        "target IN [*]",
        "role IN [*]",
        "service IN [*]",
        "method IN [*]",
        "remote IN [*]",
        "expires_before = 2027-01-15T08:00:00Z",
        "can_delegate = true",
        "delegation_depth <= 5",
    ];
    let replaced = |caveat: &str| {
        let subject = caveat.split(' ').next();
        let new = replace.iter().find(|new| new.split(' ').next() == subject);
        new.map_or(caveat, |new| new).to_owned()
    };
    caveats.into_iter().map(replaced).collect()
}

/// Returns a child's segment.
fn child(n: u8, limits: &[&str]) -> Vec<String> {
    let head = [
        format!("task = 01KAT000000000000000000CH{n}"),
        "agent = deployer".to_owned(),
    ];
    head.into_iter()
        .chain(limits.iter().map(|&limit| limit.to_owned()))
        .collect()
}

fn token(caveats: &[String]) -> String {
    Forge::new(KEY, caveats.len(), caveats).text()
}

fn with_holder(caveats: &[String], appended: &[&str]) -> String {
    appended.iter().fold(token(caveats), |text, caveat| {
        append(&text, caveat.as_bytes())
    })
}

fn envelope(changes: Value) -> Value {
    let mut envelope = json!({
        "ssh": "*", "http": "*", "mcp": "*", "targets": "*", "roles": "*", "services": "*",
        "methods": "*", "remotes": "*", "expires": "2027-01-15T08:00:00Z",
        "can_delegate": true, "delegation_depth": 5,
    });
    if let (Some(envelope), Value::Object(changes)) = (envelope.as_object_mut(), changes) {
        envelope.extend(changes);
    }
    envelope
}

fn good() -> Vec<Vector> {
    let listed = root(&[
        "ssh IN [db:read,web:operator+read]",
        "http IN [github:GET+POST]",
        "mcp IN [devtools:list_repos]",
    ]);
    let lists = json!({
        "ssh": {"db": ["read"], "web": ["operator", "read"]},
        "http": {"github": ["GET", "POST"]}, "mcp": {"devtools": ["list_repos"]},
    });
    let mut bound = root(&[]);
    bound.insert(2, HOLDER.to_owned());
    bound.insert(3, "initiated_by = uid:1001".to_owned());
    let one_child = [
        root(&["target IN [db,web]"]),
        child(
            1,
            &[
                "target IN [web]",
                "expires_before = 2027-01-15T07:59:59.500Z",
                "can_delegate = false",
                "delegation_depth <= 4",
            ],
        ),
    ]
    .concat();
    let deep: Vec<String> = root(&[])
        .into_iter()
        .chain((1..=5u8).flat_map(|n| child(n, &[&format!("delegation_depth <= {}", 5 - n)])))
        .collect();
    let silent: Vec<String> = root(&[])
        .into_iter()
        .filter(|caveat| !caveat.starts_with("service "))
        .collect();
    let no_services = envelope(json!({"services": []}));
    vec![
        (
            "valid-root-policy-decides",
            token(&root(&[])),
            Ok(envelope(json!({}))),
        ),
        ("valid-root-lists", token(&listed), Ok(envelope(lists))),
        ("valid-root-bound", token(&bound), Ok(envelope(json!({})))),
        (
            "valid-child",
            token(&one_child),
            Ok(envelope(json!({
                "targets": ["web"], "expires": "2027-01-15T07:59:59.500Z",
                "can_delegate": false, "delegation_depth": 4,
            }))),
        ),
        (
            "valid-five-deep",
            token(&deep),
            Ok(envelope(json!({"delegation_depth": 0}))),
        ),
        (
            "valid-holder-order-is-free",
            with_holder(&root(&[]), &["ssh IN [web:read+operator,db:read]"]),
            Ok(envelope(
                json!({"ssh": {"db": ["read"], "web": ["operator", "read"]}}),
            )),
        ),
        (
            "valid-holder-narrows-pairs",
            with_holder(
                &listed,
                &["ssh IN [web:read,db:operator,cache:read]", "http IN []"],
            ),
            Ok(envelope(json!({"ssh": {"web": ["read"]}, "http": {},
                "mcp": {"devtools": ["list_repos"]}}))),
        ),
        (
            "valid-holder-may-not-give-back",
            with_holder(
                &root(&["can_delegate = false", "delegation_depth <= 1"]),
                &[
                    "can_delegate = true",
                    "delegation_depth <= 9",
                    "expires_before = 2099-01-01T00:00:00Z",
                ],
            ),
            Ok(envelope(
                json!({"can_delegate": false, "delegation_depth": 1}),
            )),
        ),
        (
            "valid-empty-intersection-denies",
            with_holder(&root(&["target IN [web]"]), &["target IN [db]"]),
            Ok(envelope(json!({"targets": []}))),
        ),
        (
            "valid-silence-denies",
            token(&silent),
            Ok(no_services.clone()),
        ),
        (
            "valid-silence-is-not-filled-by-a-holder",
            with_holder(&silent, &["service IN [github]"]),
            Ok(no_services.clone()),
        ),
        (
            "valid-silence-is-not-filled-by-a-child",
            token(&[silent, child(1, &["service IN [github]"])].concat()),
            Ok(no_services),
        ),
    ]
}

fn bad_bytes() -> Vec<Vector> {
    let good = Forge::new(KEY, 13, &root(&[]));
    let (bytes, text) = (good.bytes(), good.text());
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        encode(&bytes)
    };
    let forged = |change: fn(&mut Forge)| {
        let mut forge = Forge::new(KEY, 13, &root(&[]));
        change(&mut forge);
        forge.text()
    };
    let fill = format!("target IN [{}]", "x".repeat(63)).repeat(110);
    vec![
        ("no-prefix", text[4..].to_owned(), Err("not_a_token")),
        ("padded-base64", format!("{text}=="), Err("bad_base64")),
        (
            "standard-base64-alphabet",
            format!("mac_+{}", &text[5..]),
            Err("bad_base64"),
        ),
        (
            "character-outside-base64",
            format!("{} ", &text[..text.len() - 1]),
            Err("bad_base64"),
        ),
        (
            "stray-bits-in-last-character",
            stray_bits(&text),
            Err("bad_base64"),
        ),
        ("version-1", forged(|f| f.version = 1), Err("bad_version")),
        ("empty", "mac_".to_owned(), Err("truncated")),
        (
            "truncated-in-a-caveat",
            encode(&bytes[..100]),
            Err("truncated"),
        ),
        (
            "truncated-signature",
            encode(&bytes[..bytes.len() - 1]),
            Err("truncated"),
        ),
        (
            "trailing-byte",
            changed(|b| b.push(0)),
            Err("trailing_bytes"),
        ),
        (
            "count-too-great",
            changed(|b| b[5 + 56 + 4 + 12] = 0xFF),
            Err("truncated"),
        ),
        ("too-long", append(&text, fill.as_bytes()), Err("too_long")),
        (
            "other-location",
            forged(|f| f.location = "ephyr-signer".into()),
            Err("bad_location"),
        ),
        (
            "identifier-without-count",
            forged(|f| f.identifier = format!("{EPOCH}.{ROOT}")),
            Err("bad_identifier"),
        ),
        (
            "identifier-count-with-leading-zero",
            forged(|f| f.identifier = format!("{EPOCH}.{ROOT}.013")),
            Err("bad_identifier"),
        ),
        (
            "identifier-small-letters",
            forged(|f| f.identifier = f.identifier.to_lowercase()),
            Err("bad_identifier"),
        ),
        (
            "identifier-ulid-overflow",
            forged(|f| f.identifier = format!("8{}.{ROOT}.13", &EPOCH[1..])),
            Err("bad_identifier"),
        ),
        (
            "flipped-bit-in-signature",
            changed(|b| {
                if let Some(last) = b.last_mut() {
                    *last ^= 1;
                }
            }),
            Err("bad_signature"),
        ),
        (
            "flipped-bit-in-caveat",
            changed(|b| b[100] ^= 1),
            Err("bad_signature"),
        ),
        (
            "other-root-key",
            forged(|f| f.key = [0; 32]),
            Err("bad_signature"),
        ),
        ("caveat-taken-off", caveat_taken_off(), Err("bad_signature")),
    ]
}

/// Returns the text with nonzero spare bits in its last character, which decode to the same bytes.
fn stray_bits(text: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (kept, last) = text.split_at(text.len() - 1);
    let next = alphabet
        .find(last)
        .and_then(|at| alphabet.get(at + 1..at + 2));
    format!("{kept}{}", next.unwrap_or_default())
}

/// Returns a token with a holder's caveat removed but its signature kept.
fn caveat_taken_off() -> String {
    let whole = decode(&with_holder(&root(&[]), &["target IN [web]"]));
    let mut cut = decode(&token(&root(&[])));
    let at = cut.len() - 32;
    cut[at..].copy_from_slice(&whole[whole.len() - 32..]);
    encode(&cut)
}

fn bad_caveats() -> Vec<Vector> {
    let malformed = |name, caveat: &str| {
        (
            name,
            with_holder(&root(&[]), &[caveat]),
            Err("malformed_caveat"),
        )
    };
    vec![
        (
            "caveat-not-utf8",
            append(&token(&root(&[])), b"target IN [\xFF]"),
            Err("malformed_caveat"),
        ),
        malformed("caveat-unknown-subject", "colour IN [red]"),
        malformed("caveat-empty", ""),
        malformed("caveat-not-ascii", "target IN [caf\u{E9}]"),
        malformed("caveat-wrong-operator", "target = web"),
        malformed("caveat-space-after-comma", "target IN [a, b]"),
        malformed("caveat-item-twice", "target IN [a,a]"),
        malformed("caveat-key-twice", "ssh IN [a:read,a:operator]"),
        malformed("caveat-value-twice", "ssh IN [a:read+read]"),
        malformed("caveat-key-without-value", "ssh IN [a:]"),
        malformed("caveat-star-among-items", "ssh IN [*,a:read]"),
        malformed("caveat-star-as-value", "ssh IN [a:*]"),
        malformed("caveat-trailing-comma", "target IN [a,]"),
        malformed("caveat-list-not-closed", "target IN [a"),
        malformed("caveat-small-method", "method IN [get]"),
        malformed(
            "caveat-time-with-offset",
            "expires_before = 2027-01-15T08:00:00+00:00",
        ),
        malformed(
            "caveat-time-with-empty-fraction",
            "expires_before = 2027-01-15T08:00:00.000Z",
        ),
        malformed(
            "caveat-no-such-day",
            "expires_before = 2027-02-29T00:00:00Z",
        ),
        malformed("caveat-depth-with-leading-zero", "delegation_depth <= 01"),
        malformed("caveat-depth-too-great", "delegation_depth <= 256"),
        malformed("caveat-boolean-in-capitals", "can_delegate = True"),
        malformed("caveat-trailing-space", "can_delegate = false "),
        malformed(
            "caveat-task-small-letters",
            "task = 01kat000000000000000000ch1",
        ),
        malformed("caveat-holder-too-short", "holder = AAAA"),
    ]
}

fn bad_sections() -> Vec<Vector> {
    let misplaced = |name, caveats: &[String]| (name, token(caveats), Err("misplaced_caveat"));
    let appended = |name, caveat| {
        (
            name,
            with_holder(&root(&[]), &[caveat]),
            Err("misplaced_caveat"),
        )
    };
    let changed = |change: fn(&mut Vec<String>)| {
        let mut caveats = root(&[]);
        change(&mut caveats);
        caveats
    };
    let star = |name, caveat| {
        (
            name,
            with_holder(&root(&[]), &[caveat]),
            Err("wildcard_in_holder_section"),
        )
    };
    let root_only = root(&[]);
    let again = [child(1, &[]), child(1, &[])].concat();
    let six: Vec<String> = (1..=6).flat_map(|n| child(n, &[])).collect();
    vec![
        star("holder-star", "service IN [*]"),
        star("holder-star-paired", "ssh IN [*]"),
        appended("holder-names-a-task", "task = 01KAT000000000000000000CH1"),
        appended("holder-names-an-agent", "agent = admin"),
        appended("holder-names-a-holder", HOLDER),
        appended("holder-names-an-initiator", "initiated_by = uid:0"),
        misplaced("broker-agent-missing", &changed(|c| drop(c.remove(1)))),
        misplaced(
            "broker-agent-of-a-child-missing",
            &[root(&[]), vec![child(1, &[]).remove(0), HOLDER.to_owned()]].concat(),
        ),
        misplaced(
            "broker-agent-twice",
            &changed(|c| c.insert(2, "agent = admin".into())),
        ),
        misplaced(
            "broker-holder-after-limits",
            &changed(|c| c.push(HOLDER.into())),
        ),
        misplaced(
            "broker-begins-with-a-limit",
            &changed(|c| c.insert(0, "role IN [a]".into())),
        ),
        misplaced(
            "broker-holder-twice",
            &changed(|c| {
                c.insert(2, HOLDER.into());
                c.insert(2, HOLDER.into());
            }),
        ),
        (
            "broker-section-too-long",
            Forge::new(KEY, 14, &root_only).text(),
            Err("bad_section_count"),
        ),
        (
            "broker-section-empty",
            Forge::new(KEY, 0, &root_only).text(),
            Err("bad_section_count"),
        ),
        (
            "broker-section-cut-short",
            Forge::new(KEY, 1, &root_only).text(),
            Err("misplaced_caveat"),
        ),
        (
            "other-root-task",
            token(&changed(|c| {
                c[0] = "task = 01KAT000000000000000000CH1".into();
            })),
            Err("root_mismatch"),
        ),
        (
            "task-twice-in-lineage",
            token(&[root(&[]), again].concat()),
            Err("repeated_task"),
        ),
        (
            "six-deep",
            token(&[root(&[]), six].concat()),
            Err("too_deep"),
        ),
        (
            "no-expiry",
            token(&changed(|c| drop(c.remove(10)))),
            Err("no_expiry"),
        ),
        (
            "no-expiry-but-the-holders",
            with_holder(
                &changed(|c| drop(c.remove(10))),
                &["expires_before = 2027-01-15T08:00:00Z"],
            ),
            Err("no_expiry"),
        ),
    ]
}
