//! Regression tests for the faults in `docs/faults.md` that concern the algebra of tokens, by number.

#[cfg(test)]
mod support;

use ed25519_dalek::SigningKey;
use ephyr_names::Timestamp;
use ephyr_token::{
    ChildSpec, DelegationCertificate, Envelope, HolderCaveat, MintError, Narrowing, Scope,
    TokenError, mint_child, rebind,
};
use ssh_key::private::{Ed25519Keypair, PrivateKey};
use support::forge::{Forge, append, decode, encode};
use support::{
    EXPIRES, KEY, OPEN_ROOT, certificate, child, child_spec, epoch, grants, holder, key, name,
    open, receipt, root, root_spec, scope, task, verified, verify,
};

#[test]
fn w1_appending_does_not_change_a_child_tokens_identity() {
    let spec = ChildSpec {
        holder: Some(holder(1)),
        ..child_spec(2)
    };
    let token = child(&root(open()), &spec);
    let appended = token.append(&HolderCaveat::can_delegate(true)).unwrap();
    assert_ne!(appended.digest(), token.digest());
    let read = verified(&appended);
    assert_eq!((read.task(), read.root()), (task(2), task(1)));
    assert_eq!(read.holder(), Some(&holder(1)), "the token stays bound");
    assert_eq!(read.agent().as_str(), "deployer");
    assert_eq!(
        read.lineage().collect::<Vec<_>>(),
        [task(1), task(2)],
        "the lineage stays complete"
    );
}

#[test]
fn w1_unknown_signature_is_never_taken_for_the_roots() {
    let parent = root(open());
    let token = child(&parent, &child_spec(2));
    let mut bytes = decode(&token.as_text());
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    assert_eq!(verify(&encode(&bytes)).unwrap_err(), TokenError::Signature);

    // The root's caveats under the child's signature.
    let mut cut = decode(&parent.as_text());
    let at = cut.len() - 32;
    cut[at..].copy_from_slice(&decode(&token.as_text())[decode(&token.as_text()).len() - 32..]);
    assert_eq!(verify(&encode(&cut)).unwrap_err(), TokenError::Signature);
}

#[test]
fn w1_child_cannot_drop_its_segment_by_moving_the_section_end() {
    let token = child(&root(open()), &child_spec(2));
    let caveats: Vec<String> = ephyr_token::explain(&token.as_text())
        .unwrap()
        .broker_caveats;
    let mut forge = Forge::new(KEY, 13, &caveats);
    forge.identifier = format!("{}.{}.13", token.epoch(), token.root());
    let mut moved = decode(&forge.text());
    let at = moved.len() - 32;
    let whole = decode(&token.as_text());
    moved[at..].copy_from_slice(&whole[whole.len() - 32..]);
    assert_eq!(verify(&encode(&moved)).unwrap_err(), TokenError::Signature);
    // Even under the right key it is refused: a holder section must not name a task.
    let error = verify(&forge.text()).unwrap_err();
    assert!(
        matches!(error, TokenError::MisplacedCaveat { index: 13, .. }),
        "{error:?}"
    );
}

#[test]
fn w2_appended_star_is_refused_in_every_dimension() {
    let token = root(Envelope::nothing(EXPIRES)).as_text();
    assert!(verify(&token).is_ok());
    for dimension in [
        "ssh", "http", "mcp", "target", "role", "service", "method", "remote",
    ] {
        let widened = append(&token, format!("{dimension} IN [*]").as_bytes());
        assert_eq!(
            verify(&widened).unwrap_err(),
            TokenError::Wildcard { index: 13 }
        );
    }
}

/// For each dimension, a caveat that a holder appends where the broker named none.
const FIRST: [(&str, &str); 8] = [
    ("ssh", "ssh IN [web:read]"),
    ("http", "http IN [github:GET]"),
    ("mcp", "mcp IN [dev:run]"),
    ("target", "target IN [web]"),
    ("role", "role IN [read]"),
    ("service", "service IN [github]"),
    ("method", "method IN [GET]"),
    ("remote", "remote IN [dev]"),
];

fn allows_anything(envelope: &Envelope, dimension: &str) -> bool {
    match dimension {
        "ssh" | "target" | "role" => envelope.allows_ssh(&name("web"), &name("read")),
        "http" | "service" | "method" => envelope.allows_http(&name("github"), &name("GET")),
        _ => envelope.allows_mcp(&name("dev"), &name("run")),
    }
}

#[test]
fn w2_first_caveat_of_a_dimension_does_not_widen() {
    for (dimension, caveat) in FIRST {
        let silent: Vec<&str> = OPEN_ROOT
            .into_iter()
            .filter(|c| !c.starts_with(&format!("{dimension} ")))
            .collect();
        let text = Forge::new(KEY, 12, &silent).text();
        assert!(
            !allows_anything(verify(&text).unwrap().envelope(), dimension),
            "{dimension}"
        );
        let appended = verify(&append(&text, caveat.as_bytes())).unwrap();
        assert!(
            !allows_anything(appended.envelope(), dimension),
            "{dimension}"
        );
        // Control: if the broker names the dimension, the same caveat allows something.
        let open = Forge::new(KEY, 13, &OPEN_ROOT).text();
        let narrowed = verify(&append(&open, caveat.as_bytes())).unwrap();
        assert!(
            allows_anything(narrowed.envelope(), dimension),
            "{dimension}"
        );
    }
}

#[test]
fn w2_appended_caveat_grants_nothing_after_delegation_or_binding() {
    for (dimension, caveat) in FIRST {
        let silent: Vec<&str> = OPEN_ROOT
            .into_iter()
            .filter(|c| !c.starts_with(&format!("{dimension} ")))
            .collect();
        let text = append(&Forge::new(KEY, 12, &silent).text(), caveat.as_bytes());
        let parent = verify(&text).unwrap();
        let child = mint_child(&key(), &parent, &child_spec(2)).unwrap();
        let bound = rebind(&key(), &parent, &holder(1)).unwrap();
        for token in [child, bound] {
            assert!(
                !allows_anything(verified(&token).envelope(), dimension),
                "{dimension}"
            );
        }
    }
}

#[test]
fn w2_holder_cannot_grant_delegation() {
    let silent: Vec<&str> = OPEN_ROOT
        .into_iter()
        .filter(|c| !c.contains("delegat"))
        .collect();
    let text = append(&Forge::new(KEY, 11, &silent).text(), b"can_delegate = true");
    let token = verify(&append(&text, b"delegation_depth <= 5")).unwrap();
    assert_eq!(
        mint_child(&key(), &token, &child_spec(2)),
        Err(MintError::MayNotDelegate)
    );
    let bound = verified(&rebind(&key(), &token, &holder(1)).unwrap());
    assert!(!bound.envelope().can_delegate && bound.envelope().delegation_depth == 0);
}

#[test]
fn w3_targets_keep_their_own_roles() {
    let ssh = grants(&[("a", "admin"), ("b", "read")]);
    let token = verified(&root(Envelope { ssh, ..open() }));
    let allows = |target, role| token.envelope().allows_ssh(&name(target), &name(role));
    assert!(allows("a", "admin") && allows("b", "read"));
    assert!(!allows("b", "admin") && !allows("a", "read"));
}

#[test]
fn w6_empty_intersection_denies() {
    let targets = Scope::from_iter([name("a")]);
    let token = root(Envelope { targets, ..open() });
    let appended = verified(&token.append(&HolderCaveat::targets([name("b")])).unwrap());
    assert_eq!(appended.envelope().targets, Scope::none());
    assert!(!appended.envelope().allows_ssh(&name("a"), &name("read")));
    assert!(!appended.envelope().allows_ssh(&name("b"), &name("read")));
}

#[test]
fn w13_child_keeps_root_and_lineage_and_cannot_outlive_parent() {
    let parent = root(open());
    let token = verified(&child(&parent, &child_spec(2)));
    assert_eq!(token.root(), task(1));
    assert_eq!(token.lineage().next(), Some(task(1)));
    let longer = ChildSpec {
        expires: Timestamp::from_unix_millis(EXPIRES.unix_millis() + 1),
        ..child_spec(3)
    };
    let refused = mint_child(&key(), &verified(&parent), &longer);
    assert_eq!(refused, Err(MintError::Widens { what: "expires" }));
    // An expiry appended by a holder limits children as well.
    let sooner = Timestamp::from_unix_seconds(1_700_000_000);
    let cut = verified(
        &parent
            .append(&HolderCaveat::expires_before(sooner))
            .unwrap(),
    );
    let refused = mint_child(&key(), &cut, &child_spec(3));
    assert_eq!(refused, Err(MintError::Widens { what: "expires" }));
}

#[test]
fn w13_child_without_delegation_creates_no_tasks() {
    let leaf = ChildSpec {
        can_delegate: false,
        ..child_spec(2)
    };
    let token = verified(&child(&root(open()), &leaf));
    assert_eq!(
        mint_child(&key(), &token, &child_spec(3)),
        Err(MintError::MayNotDelegate)
    );
}

#[test]
fn w14_child_inherits_unnamed_dimensions_and_narrows_named_ones() {
    let envelope = Envelope {
        services: scope(&["github", "wiki"]),
        targets: scope(&["web", "db"]),
        ..open()
    };
    let narrowing = Narrowing {
        targets: Some(scope(&["web"])),
        ..Narrowing::default()
    };
    let spec = ChildSpec {
        narrowing,
        ..child_spec(2)
    };
    let token = verified(&child(&root(envelope), &spec));
    assert_eq!(
        token.envelope().services,
        scope(&["github", "wiki"]),
        "an unnamed dimension keeps the parent's limit"
    );
    assert_eq!(token.envelope().targets, scope(&["web"]));
}

#[test]
fn w14_list_narrows_star() {
    let narrowing = Narrowing {
        services: Some(scope(&["github"])),
        ssh: Some(grants(&[("web", "read")])),
        ..Narrowing::default()
    };
    let spec = ChildSpec {
        narrowing,
        ..child_spec(2)
    };
    let token = verified(&child(&root(open()), &spec));
    assert!(token.envelope().allows_http(&name("github"), &name("GET")));
    assert!(!token.envelope().allows_http(&name("wiki"), &name("GET")));
    assert!(token.envelope().allows_ssh(&name("web"), &name("read")));
    assert!(!token.envelope().allows_ssh(&name("web"), &name("admin")));
}

#[test]
fn w14_widening_child_is_refused_by_dimension() {
    let envelope = Envelope {
        ssh: grants(&[("a", "admin"), ("b", "read")]),
        http: grants(&[("github", "GET")]),
        mcp: grants(&[("dev", "run")]),
        ..open()
    };
    let parent = verified(&root(envelope));
    let refused = |what: &'static str, narrowing: Narrowing| {
        let spec = ChildSpec {
            narrowing,
            ..child_spec(2)
        };
        let refusal = mint_child(&key(), &parent, &spec);
        assert_eq!(refusal, Err(MintError::Widens { what }), "{what}");
    };
    let none = Narrowing::default;
    refused(
        "ssh",
        Narrowing {
            ssh: Some(grants(&[("b", "admin")])),
            ..none()
        },
    );
    refused(
        "ssh",
        Narrowing {
            ssh: Some(ephyr_token::Grants::Any),
            ..none()
        },
    );
    refused(
        "http",
        Narrowing {
            http: Some(grants(&[("github", "POST")])),
            ..none()
        },
    );
    refused(
        "mcp",
        Narrowing {
            mcp: Some(grants(&[("dev", "stop")])),
            ..none()
        },
    );
    refused(
        "targets",
        Narrowing {
            targets: Some(scope(&["c"])),
            ..none()
        },
    );
    refused(
        "roles",
        Narrowing {
            roles: Some(scope(&["operator"])),
            ..none()
        },
    );
    refused(
        "services",
        Narrowing {
            services: Some(scope(&["wiki"])),
            ..none()
        },
    );
    refused(
        "methods",
        Narrowing {
            methods: Some(scope(&["POST"])),
            ..none()
        },
    );
    refused(
        "remotes",
        Narrowing {
            remotes: Some(scope(&["prod"])),
            ..none()
        },
    );
    let allowed = Narrowing {
        ssh: Some(grants(&[("b", "read")])),
        ..none()
    };
    assert!(
        mint_child(
            &key(),
            &parent,
            &ChildSpec {
                narrowing: allowed,
                ..child_spec(2)
            }
        )
        .is_ok()
    );
}

#[test]
fn w16_binding_affects_only_the_last_task_and_only_once() {
    let parent = root(open());
    let token = child(&parent, &child_spec(2));
    let bound = rebind(&key(), &verified(&token), &holder(1)).unwrap();
    let read = verified(&bound);
    let holders: Vec<_> = read
        .segments()
        .iter()
        .map(|segment| segment.holder)
        .collect();
    assert_eq!(holders, [None, Some(holder(1))]);
    assert_eq!(read.task(), task(2));
    assert_eq!(read.envelope(), verified(&token).envelope());
    assert_eq!(
        rebind(&key(), &read, &holder(2)),
        Err(MintError::AlreadyBound)
    );
    assert_eq!(
        rebind(&key(), &read, &holder(1)),
        Ok(bound),
        "binding to the same key again is idempotent"
    );
}

#[test]
fn w31_verification_uses_the_certificates_times() {
    let ca = PrivateKey::from(Ed25519Keypair::from_seed(&[3; 32]));
    let broker = SigningKey::from_bytes(&[4; 32]);
    let now = 1_800_000_000_000;
    // The signer's clock is a millisecond, a second or half an hour behind or ahead.
    for skew in [-1_800_000, -1_001, -1, 0, 1, 999, 1_000, 1_800_000] {
        let certificate = certificate(now + skew, &ca, &broker);
        let sent = serde_json::to_string(&certificate).unwrap();
        let received: DelegationCertificate = serde_json::from_str(&sent).unwrap();
        received
            .verify(ca.public_key(), Timestamp::from_unix_millis(now))
            .unwrap();
        let record = ephyr_names::RecordId::from_bits(5);
        let receipt = receipt(&broker, record, ephyr_names::Digest([9; 32]), received.id());
        receipt.verify(&received, ca.public_key()).unwrap();
    }
}

#[test]
fn w40_delegation_depth_is_enforced() {
    let mut token = root(Envelope {
        delegation_depth: 2,
        ..open()
    });
    for n in 2..=3 {
        token = child(&token, &child_spec(n));
    }
    assert_eq!(verified(&token).envelope().delegation_depth, 0);
    let refused = mint_child(&key(), &verified(&token), &child_spec(4));
    assert_eq!(refused, Err(MintError::DepthUsedUp));
    // A holder can reduce the depth to zero, but not restore it.
    let spent = root(open())
        .append(&HolderCaveat::delegation_depth(0))
        .unwrap();
    let spent = spent.append(&HolderCaveat::delegation_depth(5)).unwrap();
    let refused = mint_child(&key(), &verified(&spent), &child_spec(4));
    assert_eq!(refused, Err(MintError::DepthUsedUp));
}

#[test]
fn w40_sixth_generation_is_refused() {
    let mut token = root(open());
    for n in 2..=6 {
        token = child(&token, &child_spec(n));
    }
    assert_eq!(verified(&token).depth(), 5);
    let refused = mint_child(&key(), &verified(&token), &child_spec(7));
    assert_eq!(refused, Err(MintError::DepthUsedUp));
    let mut deeper = root_spec(open());
    deeper.envelope.delegation_depth = 6;
    let refused = ephyr_token::mint_root(&key(), epoch(), &deeper);
    assert_eq!(refused, Err(MintError::Depth(6)));
    // A seventh segment is refused even under the right key.
    let mut caveats: Vec<String> = OPEN_ROOT.map(str::to_owned).to_vec();
    for n in 1..=6 {
        caveats.push(format!("task = 01KAT000000000000000000CH{n}"));
        caveats.push("agent = builder".to_owned());
    }
    let forged = Forge::new(KEY, caveats.len(), &caveats).text();
    assert_eq!(verify(&forged).unwrap_err(), TokenError::TooDeep);
    caveats.truncate(caveats.len() - 2);
    assert!(verify(&Forge::new(KEY, caveats.len(), &caveats).text()).is_ok());
}

#[test]
fn w40_every_limit_narrows_the_envelope() {
    let token = root(open());
    let before = verified(&token);
    for limit in [
        "ssh IN [web:read]",
        "http IN [github:GET]",
        "mcp IN [dev:run]",
        "target IN [web]",
        "role IN [read]",
        "service IN [github]",
        "method IN [GET]",
        "remote IN [dev]",
        "expires_before = 2026-01-01T00:00:00Z",
        "can_delegate = false",
        "delegation_depth <= 1",
    ] {
        let caveat: HolderCaveat = limit.parse().unwrap();
        assert_eq!(caveat.to_string(), limit);
        let after = verified(&token.append(&caveat).unwrap());
        assert_ne!(after.envelope(), before.envelope(), "{limit}");
        assert!(after.envelope().is_within(before.envelope()), "{limit}");
    }
}

#[test]
fn w40_expiry_is_checked_separately_from_verification() {
    let long_ago = Timestamp::from_unix_seconds(0);
    let token = verified(&root(Envelope {
        expires: long_ago,
        ..open()
    }));
    let expired = Err(TokenError::Expired { expires: long_ago });
    assert_eq!(token.check_expiry(long_ago), expired);
    assert_eq!(token.check_expiry(Timestamp::from_unix_millis(-1)), Ok(()));
}

#[test]
fn unrepresentable_expiry_is_not_minted() {
    for ms in [i64::MAX, 253_402_300_800_000, -62_135_596_800_001] {
        let expires = Timestamp::from_unix_millis(ms);
        let spec = root_spec(Envelope { expires, ..open() });
        let refused = ephyr_token::mint_root(&key(), epoch(), &spec);
        assert_eq!(refused, Err(MintError::Expiry), "{ms}");
    }
}

#[test]
fn repeated_task_in_lineage_is_refused() {
    let token = verified(&child(&root(open()), &child_spec(2)));
    for n in [1, 2] {
        let refused = mint_child(&key(), &token, &child_spec(n));
        assert_eq!(refused, Err(MintError::RepeatedTask), "{n}");
    }
}

#[test]
fn oversized_token_is_not_minted() {
    let many = (0..2000).map(|n| name(&format!("t{n:04}")));
    let envelope = Envelope {
        targets: many.collect(),
        ..open()
    };
    let refused = ephyr_token::mint_root(&key(), epoch(), &root_spec(envelope.clone()));
    assert!(
        matches!(refused, Err(MintError::TooLong { len }) if len > 12_000),
        "{refused:?}"
    );
    let some = (0..1000).map(|n| name(&format!("t{n:04}")));
    assert!(
        ephyr_token::mint_root(
            &key(),
            epoch(),
            &root_spec(Envelope {
                targets: some.collect(),
                ..envelope
            })
        )
        .is_ok()
    );
}

#[test]
fn w2_star_is_not_an_appendable_caveat() {
    for text in [
        "ssh IN [*]",
        "target IN [*]",
        "ssh IN [a]",
        "target IN [a,a]",
        "agent = admin",
        "task = 01KAT000000000000000000CH1",
        "colour IN [red]",
        "",
    ] {
        assert!(text.parse::<HolderCaveat>().is_err(), "{text}");
    }
    assert!("ssh IN [a:read]".parse::<HolderCaveat>().is_ok());
}
