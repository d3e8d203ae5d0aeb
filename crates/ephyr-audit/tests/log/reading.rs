//! Queries of a log, and the human-readable form of a record.

use ephyr_audit::{DecisionInfo, Event, Filter, find_delegation, query};
use ephyr_token::{DelegationCertificate, DelegationPayload};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

use crate::support::*;

#[test]
fn query_by_task_returns_exactly_its_subtree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let task = |n: u128| ephyr_names::TaskId::from_bits(n);
    append(&writer, &exec("root").with_lineage([task(1)]));
    append(&writer, &exec("child").with_lineage([task(1), task(2)]));
    append(
        &writer,
        &exec("leaf").with_lineage([task(1), task(2), task(3)]),
    );
    append(&writer, &exec("other").with_lineage([task(9)]));
    let commands = |filter: &Filter| -> Vec<String> {
        query(text(&path).as_bytes(), filter)
            .filter_map(|stored| stored.unwrap().record.action?.command)
            .map(|command| command.as_str().to_owned())
            .collect()
    };
    let of = |n| {
        commands(&Filter {
            task: Some(task(n)),
            ..Filter::default()
        })
    };
    assert_eq!(of(1), ["root", "child", "leaf"]);
    assert_eq!(of(2), ["child", "leaf"]);
    assert_eq!(of(3), ["leaf"]);
    let nobody = Filter {
        agent: Some("nobody".parse().unwrap()),
        ..Filter::default()
    };
    assert!(commands(&nobody).is_empty());
    let early = Filter {
        until: Some(ephyr_names::Timestamp::from_unix_seconds(1)),
        ..Filter::default()
    };
    assert!(commands(&early).is_empty());
}

#[test]
fn delegation_certificate_is_found_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let writer = open(&path);
    let ca = PrivateKey::from(Ed25519Keypair::from_seed(&[3; 32]));
    let time = now();
    let payload = DelegationPayload {
        epoch: ephyr_names::EpochId::from_bits(5),
        broker_id: "broker".into(),
        public_key: [9; 32],
        issued_at: time,
        mint_until: time.after(ephyr_names::Ttl::from_secs(3600)),
        valid_until: time.after(ephyr_names::Ttl::from_secs(7200)),
    };
    let certificate = DelegationCertificate::sign(payload, &ca).unwrap();
    let mut started = record(Event::EpochStarted);
    started.delegation = Some(Box::new(certificate.clone()));
    append(&writer, &started);
    let found = find_delegation(text(&path).as_bytes(), certificate.id()).unwrap();
    assert_eq!(found.unwrap().verify_signature(ca.public_key()), Ok(()));
    let other = find_delegation(text(&path).as_bytes(), POLICY).unwrap();
    assert!(other.is_none());
}

#[test]
fn display_shows_agent_action_and_decision_in_one_line() {
    let mut denied = exec("rm -rf /\n\u{1b}[2J").with_detail("peer", "uid 1000");
    denied.decision = Some(DecisionInfo {
        step: Some(3),
        reason: "role_not_granted".into(),
        rule: Some("agents.claude.ssh".into()),
    });
    let line = denied.to_string();
    assert!(line.ends_with(&format!(
        "exec_attempt agent=claude exec target=web role=read command=\"rm -rf /\\n\\u{{1b}}[2J\" \
         reason=role_not_granted step=3 rule=agents.claude.ssh peer=\"uid 1000\" id={}",
        denied.id
    )), "{line}");
    assert!(!line.contains(char::is_control));
}

#[test]
fn agent_text_cannot_imitate_fields_of_the_line() {
    let said = exec("id\" reason=permitted x=\"\\")
        .with_detail("a", "no reason=permitted")
        .with_detail("b", "reason=permitted")
        .with_detail("c", "connect:refused/2")
        .with_detail("d", "");
    let line = said.to_string();
    let expected = r#"command="id\" reason=permitted x=\"\\" a="no reason=permitted" b="reason=permitted" c=connect:refused/2 d="" id="#;
    assert!(line.contains(expected), "{line}");
}
