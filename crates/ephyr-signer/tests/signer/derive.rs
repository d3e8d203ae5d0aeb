//! Tests of the derivation: the fields of granted certificates, and refusals, each caused by one change to a granted
//! intent.

use ephyr_names::{Digest, MAX_COMMAND_BYTES, Serial, TaskId, Timestamp, Ttl};
use ephyr_policy::{Policy, sealed_command};
use ephyr_signer::derive::{CertificateSpec, Refusal, derive};
use ephyr_signer_ipc::{ErrorCode, Intent, Purpose};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_unix_millis(1_795_500_000_700);

const POLICY: &str = r#"
global: { max_active_certs: 100, default_ttl: 5m, max_ttl: 30m, host_key_strict: true }
roles:
  read: { principal: eph-read, commands: [uptime, "cat *"] }
  operator: { principal: eph-op }
  shell: { principal: eph-shell, pty: true, port_forwarding: true, agent_forwarding: true }
  open: { principal: eph-open, commands: [uptime], unsealed: true }
targets:
  web:
    host: web.example
    host_key: KEY
    allowed_roles: [read, operator, shell, open]
    max_ttl: 10m
    auto_approve: true
  db:
    host: db.example
    host_key: KEY
    allowed_roles: [operator]
    auto_approve: false
  jump:
    host: jump.example
    host_key: KEY
    allowed_roles: [operator]
    auto_approve: true
    force_command: /usr/bin/guard
    source_address: [192.0.2.0/24, "2001:db8::/64"]
  off:
    host: off.example
    host_key: KEY
    allowed_roles: [operator]
    auto_approve: true
    enabled: false
agents:
  lead:
    uid: 1501
    max_concurrent_certs: 5
    ssh:
      web: { roles: [read, operator, shell, open] }
      db: { roles: [operator] }
      jump: { roles: [operator] }
      "off": { roles: [operator] }
  helper:
    uid: 1502
    max_concurrent_certs: 5
    accept_delegation_from: [lead]
    ssh: { web: { roles: [read] } }
  loner:
    uid: 1503
    max_concurrent_certs: 5
    ssh: { web: { roles: [operator] } }
"#;

const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBFb0pR5mR0UgbYKcqoUIkxBSF1sNaC/hxrFKJ9XBTHE";

fn policy() -> Policy {
    ephyr_policy::load(POLICY.replace("KEY", HOST_KEY).as_bytes(), "policy.yaml").unwrap()
}

fn key_line() -> String {
    let seed = ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]);
    ssh_key::PrivateKey::from(seed)
        .public_key()
        .to_openssh()
        .unwrap()
}

fn exec(command: &str) -> Purpose {
    Purpose::Exec {
        command: command.into(),
        stdin_digest: None,
    }
}

/// Returns an intent that the policy grants: `operator` on `web`, by `lead`, for a minute.
fn intent(policy: &Policy) -> Intent {
    Intent {
        policy: policy.hash(),
        agent: "lead".parse().unwrap(),
        target: "web".parse().unwrap(),
        role: "operator".parse().unwrap(),
        ttl: Ttl::from_secs(60),
        public_key: key_line(),
        purpose: exec("uptime"),
        task: None,
        lineage: vec![],
    }
}

fn with(change: impl FnOnce(&mut Intent)) -> Result<CertificateSpec, Refusal> {
    let policy = policy();
    let mut intent = intent(&policy);
    change(&mut intent);
    derive(&policy, &intent, NOW, Serial(0xABC))
}

fn refused(change: impl FnOnce(&mut Intent)) -> ErrorCode {
    with(change).unwrap_err().code
}

fn task(bits: u128) -> TaskId {
    TaskId::from_bits(bits)
}

#[test]
fn exec_certificate_is_sealed_to_its_command() {
    let spec = with(|_| {}).unwrap();
    assert_eq!(
        spec.force_command.as_deref(),
        Some(sealed_command("uptime").as_str())
    );
    assert!(spec.extensions.is_empty());
    assert_eq!(spec.source_address, None);
    assert_eq!(spec.principal.to_string(), "web/operator");
    assert_eq!(
        spec.key_id.to_string(),
        "ephyr:lead@web/operator:-:0000000000000abc"
    );
    assert_eq!(spec.valid_after.unix_seconds(), 1_795_500_000 - 30);
    assert_eq!(spec.valid_before.unix_seconds(), 1_795_500_000 + 60);
}

#[test]
fn exec_certificate_lives_at_most_a_minute() {
    let lifetime = |ttl: u64| {
        let spec = with(|intent| intent.ttl = Ttl::from_secs(ttl)).unwrap();
        spec.valid_before.unix_seconds() - NOW.unix_seconds()
    };
    assert_eq!(lifetime(600), 60);
    assert_eq!(lifetime(5), 5);
}

#[test]
fn sealed_certificate_has_no_extensions_for_any_role() {
    let spec = with(|intent| intent.role = "shell".parse().unwrap()).unwrap();
    assert_eq!(spec.force_command, Some(sealed_command("uptime")));
    assert!(spec.extensions.is_empty());
}

#[test]
fn targets_force_command_and_source_address_apply() {
    let at_jump = |purpose: Purpose| {
        with(|intent| {
            intent.target = "jump".parse().unwrap();
            intent.purpose = purpose;
        })
        .unwrap()
    };
    for purpose in [
        exec("uptime"),
        Purpose::Session,
        Purpose::User,
        Purpose::Check,
    ] {
        let spec = at_jump(purpose);
        let command = spec.force_command.unwrap();
        assert!(command.ends_with("/usr/bin/guard") && !command.contains("uptime"));
        assert_eq!(
            spec.source_address.as_deref(),
            Some("192.0.2.0/24,2001:db8::/64")
        );
    }
}

#[test]
fn open_certificate_has_exactly_the_roles_extensions() {
    let open = |role: &str| {
        with(|intent| {
            intent.role = role.parse().unwrap();
            intent.purpose = Purpose::Session;
            intent.ttl = Ttl::from_secs(600);
        })
    };
    let spec = open("shell").unwrap();
    assert_eq!(
        spec.extensions,
        [
            "permit-agent-forwarding",
            "permit-port-forwarding",
            "permit-pty"
        ]
    );
    assert_eq!(spec.force_command, None);
    assert_eq!(spec.valid_before.unix_seconds() - NOW.unix_seconds(), 600);
    assert!(open("operator").unwrap().extensions.is_empty());
}

#[test]
fn check_certificate_runs_nothing() {
    let spec = with(|intent| intent.purpose = Purpose::Check).unwrap();
    assert_eq!(spec.force_command.as_deref(), Some("exit 0"));
    assert!(spec.extensions.is_empty());
}

#[test]
fn ungranted_agent_target_or_role_is_refused() {
    let pairs = |agent: &str, target: &str, role: &str| {
        with(|intent| {
            intent.agent = agent.parse().unwrap();
            intent.target = target.parse().unwrap();
            intent.role = role.parse().unwrap();
        })
    };
    assert!(pairs("lead", "web", "operator").is_ok());
    assert!(pairs("loner", "web", "operator").is_ok());
    for (agent, target, role) in [
        ("nobody", "web", "operator"),
        ("lead", "nowhere", "operator"),
        ("lead", "web", "nothing"),
        ("lead", "jump", "shell"),
        ("lead", "off", "operator"),
        ("helper", "web", "operator"),
        ("loner", "jump", "operator"),
    ] {
        let refusal = pairs(agent, target, role).unwrap_err();
        assert_eq!(
            refusal.code,
            ErrorCode::NotGranted,
            "{agent} {target} {role}"
        );
    }
}

#[test]
fn every_agent_of_the_lineage_needs_grant_and_delegation() {
    let under = |agents: [&str; 2], role: &str| {
        with(|intent| {
            intent.lineage = vec![
                (task(1), agents[0].parse().unwrap()),
                (task(2), agents[1].parse().unwrap()),
            ];
            intent.agent = agents[1].parse().unwrap();
            intent.task = Some(task(2));
            intent.role = role.parse().unwrap();
        })
    };
    let spec = under(["lead", "helper"], "read").unwrap();
    assert!(spec.key_id.to_string().contains(&task(2).to_string()));
    for (agents, role) in [
        (["lead", "helper"], "operator"),
        (["loner", "helper"], "read"),
        (["helper", "lead"], "read"),
        (["lead", "loner"], "operator"),
    ] {
        let refusal = under(agents, role).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::NotGranted, "{agents:?} {role}");
    }
}

#[test]
fn inconsistent_lineage_is_refused() {
    let lead = || "lead".parse().unwrap();
    let good = |intent: &mut Intent| {
        intent.lineage = (1..=6).map(|bits| (task(bits), lead())).collect();
        intent.task = Some(task(6));
    };
    assert!(with(good).is_ok());
    let bad: [fn(&mut Intent); 4] = [
        |intent| intent.task = None,
        |intent| intent.task = Some(task(5)),
        |intent| intent.lineage[2].0 = task(1),
        |intent| {
            intent
                .lineage
                .insert(0, (task(99), "lead".parse().unwrap()));
        },
    ];
    for change in bad {
        let code = refused(|intent| {
            good(intent);
            change(intent);
        });
        assert_eq!(code, ErrorCode::BadLineage);
    }
    let no_lineage = refused(|intent| intent.task = Some(task(1)));
    assert_eq!(no_lineage, ErrorCode::BadLineage);
}

#[test]
fn lifetimes_outside_the_policys_range_are_refused() {
    let ask = |ttl: u64, purpose: Purpose| {
        with(|intent| {
            intent.ttl = Ttl::from_secs(ttl);
            intent.purpose = purpose;
        })
    };
    assert!(ask(600, Purpose::Session).is_ok());
    for (ttl, purpose) in [
        (601, Purpose::Session),
        (601, exec("uptime")),
        (0, exec("uptime")),
        (366 * 24 * 3600, Purpose::User),
        (u64::MAX, Purpose::User),
    ] {
        let refusal = ask(ttl, purpose).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::TtlTooLong, "{ttl}");
    }
}

#[test]
fn open_certificates_are_refused_where_sealed_ones_are_required() {
    let ask = |target: &str, role: &str, purpose: Purpose| {
        refused(|intent| {
            intent.target = target.parse().unwrap();
            intent.role = role.parse().unwrap();
            intent.purpose = purpose;
        })
    };
    for purpose in [Purpose::Session, Purpose::User] {
        assert_eq!(ask("web", "read", purpose.clone()), ErrorCode::NotUnsealed);
        assert_eq!(ask("db", "operator", purpose), ErrorCode::NotUnsealed);
    }
    let unsealed = with(|intent| {
        intent.role = "open".parse().unwrap();
        intent.purpose = Purpose::Session;
    });
    assert!(unsealed.is_ok());
}

#[test]
fn requests_that_need_human_approval_are_refused() {
    for purpose in [exec("uptime"), Purpose::Check] {
        let code = refused(|intent| {
            intent.target = "db".parse().unwrap();
            intent.purpose = purpose;
        });
        assert_eq!(code, ErrorCode::ApprovalRequired);
    }
}

#[test]
fn commands_outside_the_roles_policy_are_refused() {
    let read = |command: &str| {
        with(|intent| {
            intent.role = "read".parse().unwrap();
            intent.purpose = exec(command);
        })
    };
    assert!(read("uptime").is_ok());
    assert!(read("cat /etc/hosts").is_ok());
    for command in [
        "id",
        "uptime; id",
        "cat /etc/hosts | sh",
        "cat $(id)",
        "uptime\nid",
    ] {
        let refusal = read(command).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::CommandNotAllowed, "{command:?}");
    }
}

#[test]
fn empty_oversized_and_nul_commands_are_refused() {
    let ask = |command: &str| refused(|intent| intent.purpose = exec(command));
    assert_eq!(ask(""), ErrorCode::BadCommand);
    assert_eq!(ask(" \n"), ErrorCode::BadCommand);
    assert_eq!(ask("id\0; reboot"), ErrorCode::BadCommand);
    assert_eq!(
        ask(&"x".repeat(MAX_COMMAND_BYTES + 1)),
        ErrorCode::BadCommand
    );
    let longest = with(|intent| intent.purpose = exec(&"x".repeat(MAX_COMMAND_BYTES)));
    assert!(longest.is_ok());
}

#[test]
fn keys_other_than_well_formed_ed25519_are_refused() {
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc= a";
    let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== a";
    let cut = key_line()[..60].to_owned();
    for bad in ["", "ssh-ed25519", ecdsa, rsa, &cut, "-----BEGIN"] {
        let code = refused(|intent| intent.public_key = bad.into());
        assert_eq!(code, ErrorCode::BadPublicKey, "{bad}");
    }
    // The neutral element: a signature by it verifies for any message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut off_the_curve = [0; 32];
    off_the_curve[0] = 2;
    // A point whose coordinate, 3, is encoded as p + 3.
    let mut not_canonical = [0xff; 32];
    not_canonical[0] = 0xf0;
    not_canonical[31] = 0x7f;
    for point in [neutral, off_the_curve, not_canonical] {
        let key = ssh_key::public::KeyData::Ed25519(ssh_key::public::Ed25519PublicKey(point));
        let line = ssh_key::PublicKey::from(key).to_openssh().unwrap();
        let code = refused(|intent| intent.public_key = line);
        assert_eq!(code, ErrorCode::BadPublicKey);
    }
}

#[test]
fn other_policy_is_refused_as_policy_mismatch() {
    let code = refused(|intent| intent.policy = Digest::ZERO);
    assert_eq!(code, ErrorCode::PolicyMismatch);
}

proptest! {
    /// Every certificate derived from an arbitrary intent is within the policy.
    #[test]
    fn nothing_outside_the_policy_is_derived(
        agent in prop_oneof![Just("lead"), Just("helper"), Just("loner"), Just("x")],
        target in prop_oneof![Just("web"), Just("db"), Just("jump"), Just("off"), Just("x")],
        role in prop_oneof![Just("read"), Just("operator"), Just("shell"), Just("open"), Just("x")],
        purpose in prop_oneof![
            "[ -~\n]{0,40}".prop_map(|command| exec(&command)),
            Just(exec("uptime")), Just(Purpose::Session), Just(Purpose::User), Just(Purpose::Check),
        ],
        ttl in prop_oneof![0..2000u64, any::<u64>()],
        chain in proptest::collection::vec(prop_oneof![Just("lead"), Just("helper"), Just("loner")], 0..4),
        consistent in any::<bool>(),
    ) {
        let policy = policy();
        let mut asked = intent(&policy);
        asked.agent = agent.parse().unwrap();
        asked.target = target.parse().unwrap();
        asked.role = role.parse().unwrap();
        asked.purpose = purpose.clone();
        asked.ttl = Ttl::from_secs(ttl);
        let mut chain = chain;
        if consistent && let Some(last) = chain.last_mut() {
            *last = agent;
        }
        let named = |(n, name): (u128, &&str)| Some((task(n), name.parse().ok()?));
        asked.lineage = (0..).zip(&chain).filter_map(named).collect();
        asked.task = asked.lineage.last().map(|(task, _)| *task);
        let Ok(spec) = derive(&policy, &asked, NOW, Serial(1)) else {
            return Ok(());
        };
        let granted = |agent: &str| match agent {
            "lead" => matches!(target, "web" | "jump"),
            "helper" => (target, role) == ("web", "read"),
            "loner" => (target, role) == ("web", "operator"),
            _ => false,
        };
        prop_assert!(granted(agent) && chain.iter().all(|agent| granted(agent)));
        prop_assert!(chain.windows(2).all(|pair| pair[0] == pair[1] || pair == ["lead", "helper"]));
        prop_assert_eq!(spec.principal.to_string(), format!("{target}/{role}"));
        let lifetime = spec.valid_before.unix_seconds() - spec.valid_after.unix_seconds() - 30;
        let sealed = matches!(purpose, Purpose::Exec { .. } | Purpose::Check);
        let most = if sealed { 60 } else if target == "web" { 600 } else { 1800 };
        prop_assert!((1..=most).contains(&lifetime));
        if sealed || role == "read" {
            prop_assert!(spec.force_command.is_some() && spec.extensions.is_empty());
        }
        if target == "jump" {
            prop_assert!(spec.force_command.unwrap().ends_with("/usr/bin/guard"));
            prop_assert!(spec.source_address.is_some());
        }
        if let (Purpose::Exec { command, .. }, "read") = (&purpose, role) {
            prop_assert!(command == "uptime" || command.starts_with("cat "));
        }
    }
}
