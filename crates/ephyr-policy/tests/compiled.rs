//! Compiled policies: defaults, templates, keys and the signer's check of pairings.

#![cfg(test)]

use ephyr_names::Ttl;
use ephyr_policy::{
    Allowed, Approval, Auth, External, HostKey, KeySource, Level, Policy, Rate, Sudo, Unpaired,
    load,
};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLCAUUEqc3qksi4WO6zE3eR2BHZc/8F0KIJ/xvjmQH0";
const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICuSt2XKvy+boU6PblBI4iQ63QCvAl4L5i9K58Al1bSC";
const PRINT: &str = "SHA256:bt9SCfeGm5LoaW08zFhGidd4SYIJiF4rXOxzcCDPt98";

fn policy(text: &str) -> Policy {
    let text = text.replace("KEY", KEY).replace("PRINT", PRINT);
    load(text.as_bytes(), "test.yaml").unwrap_or_else(|d| panic!("{d}"))
}

const SMALL: &str = "\
roles:
  read: { principal: agent-read }
targets:
  web: { host: web.example, host_key: KEY, allowed_roles: [read] }
agents:
  a: { uid: 1001, ssh: { web: { roles: [read] } } }
";

#[test]
fn missing_keys_have_the_documented_defaults() {
    let policy = policy(SMALL);
    let global = policy.global();
    assert_eq!(
        (global.max_active_certs, global.host_key_strict),
        (10, true)
    );
    assert_eq!(
        (global.default_ttl, global.max_ttl),
        (Ttl::from_secs(300), Ttl::from_secs(1800))
    );
    assert_eq!(global.rate_limit, None);

    let web = policy.target(&"web".parse().unwrap()).unwrap();
    assert_eq!(
        (web.port, web.max_ttl, web.enabled),
        (22, global.max_ttl, true)
    );
    assert_eq!((web.auto_approve, web.approval), (false, Approval::Plain));
    assert!(web.source_address.is_empty() && web.force_command.is_none());

    let read = policy.role(&"read".parse().unwrap()).unwrap();
    assert_eq!(
        (read.shell.as_str(), read.system, &read.sudo),
        ("/bin/bash", true, &Sudo::None)
    );
    let rights = [
        read.pty,
        read.unsealed,
        read.port_forwarding,
        read.agent_forwarding,
    ];
    assert_eq!(rights, [false; 4]);
    assert!(read.allows_command("anything"));

    let agent = policy.agent_by_uid(1001).unwrap();
    assert_eq!((agent.max_concurrent_certs, agent.dashboard), (3, None));
    assert!(!agent.require_pop && !agent.delegated_only && agent.api_key.is_none());

    let rate = |count| Rate {
        count,
        window: Ttl::from_secs(60),
    };
    assert_eq!(policy.signer().rate_limit, rate(60));
    assert_eq!(policy.signer().global_rate_limit, rate(600));
    assert_eq!(policy.signer().delegation_ttl, Ttl::from_secs(3600));
    assert_eq!(policy.sandbox().minimum_abi, 0);
    assert_eq!(policy.network().external, External::Deny);
}

#[test]
fn policy_with_every_key_is_read_as_written() {
    let text = include_str!("../../../policy/accept/every-key.yaml");
    let policy = load(text.as_bytes(), "every-key.yaml").unwrap();
    assert_eq!(policy.global().rate_limit.unwrap().count, 600);
    let web = policy.target(&"web".parse().unwrap()).unwrap();
    assert_eq!(
        (web.port, web.vlan, web.source_address.len()),
        (2222, Some(20), 2)
    );
    assert_eq!(
        web.force_command.as_deref(),
        Some("/usr/local/bin/only-this")
    );
    let db = policy.target(&"db".parse().unwrap()).unwrap();
    assert_eq!((db.approval, db.enabled), (Approval::Signed, false));
    let operate = policy.role(&"operate".parse().unwrap()).unwrap();
    assert_eq!(
        operate.sudo,
        Sudo::Commands(vec!["/usr/bin/systemctl restart nginx".into()])
    );
    assert!(operate.pty && operate.unsealed && operate.port_forwarding && operate.agent_forwarding);
    assert_eq!(
        policy.role(&"root".parse().unwrap()).unwrap().sudo,
        Sudo::All
    );
    let git = policy.services().next().unwrap();
    assert_eq!(
        (git.max_response_kb, git.timeout),
        (2048, Ttl::from_secs(20))
    );
    let header = Auth::Header {
        header: "X-Token".into(),
        credential: "git_token".into(),
    };
    assert_eq!(git.auth, header);
    let dev = policy.remotes().next().unwrap();
    assert_eq!(
        dev.auth,
        Auth::Query {
            parameter: "key".into(),
            credential: "dev_token".into()
        }
    );
    assert_eq!(policy.admin_by_uid(0).unwrap().level, Level::Admin);
    assert_eq!(policy.admin_by_uid(1000).unwrap().level, Level::Operator);
    assert_eq!(policy.network().deny_cidrs[0].to_string(), "10.9.0.0/16");
    assert_eq!(policy.signer().delegation_ttl, Ttl::from_secs(7200));
    assert_eq!(policy.sandbox().minimum_abi, 1);
}

#[test]
fn templates_merge_left_to_right_and_own_keys_take_precedence() {
    let policy = policy(
        "\
roles:
  read: { principal: agent-read }
  write: { principal: agent-write }
targets:
  web: { host: web.example, host_key: KEY, allowed_roles: [read, write] }
  db: { host: db.example, host_key: KEY, allowed_roles: [read, write] }
  mail: { host: mail.example, host_key: KEY, allowed_roles: [read, write] }
services:
  git: { url_prefix: 'https://git.example' }
templates:
  first:
    max_concurrent_certs: 1
    dashboard: viewer
    require_pop: true
    ssh: { web: { roles: [read, write] }, db: { roles: [read] }, mail: { roles: [read] } }
    services: { git: { methods: [GET, POST] } }
  second:
    max_concurrent_certs: 2
    dashboard: admin
    ssh: { web: { roles: [write] }, db: { roles: [write] } }
    services: { git: { methods: ['*'] } }
agents:
  a:
    uid: 1001
    inherits: [first, second]
    dashboard: none
    ssh: { db: { roles: [read, write], auto_approve: false } }
  b:
    api_key_hash_credential: b_key
    inherits: [second, first]
",
    );
    let agent = |name: &str| policy.agent(&name.parse().unwrap()).unwrap();
    let roles = |name: &str, target: &str| {
        let grant = agent(name).ssh.on(&target.parse().unwrap()).unwrap();
        grant
            .roles
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let methods = |name: &str| {
        let services = &agent(name).services;
        ["GET", "POST", "DELETE"]
            .map(|m| services.allows(&"git".parse().unwrap(), &m.parse().unwrap()))
    };
    let (a, b) = (agent("a"), agent("b"));
    assert_eq!((a.max_concurrent_certs, b.max_concurrent_certs), (2, 1));
    assert_eq!((a.dashboard, b.dashboard), (None, Some(Level::Viewer)));
    assert!(a.require_pop && b.require_pop);
    assert_eq!(roles("a", "web"), ["write"], "the later template wins");
    assert_eq!(
        roles("a", "db"),
        ["read", "write"],
        "the agent's own key wins"
    );
    assert_eq!(
        roles("a", "mail"),
        ["read"],
        "a target that the later template does not name is kept"
    );
    assert_eq!(
        (roles("b", "web"), roles("b", "db")),
        (vec!["read".into(), "write".into()], vec!["read".into()])
    );
    assert_eq!(
        (methods("a"), methods("b")),
        ([true; 3], [true, true, false])
    );
    let path = |target: &str| &a.ssh.on(&target.parse().unwrap()).unwrap().path;
    assert_eq!(
        (path("db").as_str(), path("mail").as_str()),
        ("agents.a.ssh.db", "templates.first.ssh.mail")
    );
    assert_eq!(b.api_key, Some(KeySource::Credential("b_key".into())));
}

#[test]
fn only_the_pinned_host_key_is_accepted() {
    let key = |text: &str| ssh_key::PublicKey::from_openssh(text).unwrap();
    let pinned = |line: &str| {
        let policy = policy(&SMALL.replace("host_key: KEY", line));
        policy
            .target(&"web".parse().unwrap())
            .unwrap()
            .host_key
            .clone()
    };
    for pin in [
        pinned("host_key: KEY"),
        pinned("host_key: [KEY]"),
        pinned("host_key_fingerprint: PRINT"),
    ] {
        assert!(pin.accepts(&key(KEY)), "{pin:?}");
        assert!(pin.accepts(&key(&format!("{KEY} with a comment"))));
        assert!(!pin.accepts(&key(OTHER)), "{pin:?}");
    }
    let both = pinned(&format!("host_key: [KEY, {OTHER}]"));
    assert!(both.accepts(&key(KEY)) && both.accepts(&key(OTHER)));
    assert!(HostKey::Unpinned.accepts(&key(OTHER)));
}

#[test]
fn pairing_checks_every_rule_for_the_signer() {
    let policy = policy(
        "\
roles:
  read: { principal: agent-read, commands: [uptime] }
  write: { principal: agent-write }
targets:
  web: { host: web.example, host_key: KEY, allowed_roles: [read, write], max_ttl: 7m, auto_approve: true }
  db: { host: db.example, host_key: KEY, allowed_roles: [read], approval: plain }
agents:
  a: { uid: 1001, ssh: { web: { roles: [read, write] }, db: { roles: [read, write] } } }
  b: { uid: 1002, accept_delegation_from: [a], ssh: { web: { roles: [read] } } }
",
    );
    let pair = |agent: &str, lineage: &[&str], target: &str, role: &str| {
        let lineage: Vec<ephyr_names::AgentName> =
            lineage.iter().map(|name| name.parse().unwrap()).collect();
        policy.pairing(
            &agent.parse().unwrap(),
            lineage.iter(),
            &target.parse().unwrap(),
            &role.parse().unwrap(),
        )
    };
    let read = pair("b", &["a", "b"], "web", "read").unwrap();
    assert_eq!(read.principal().to_string(), "web/read");
    assert_eq!(read.role().principal.as_str(), "agent-read");
    assert_eq!(read.target().max_ttl, Ttl::from_secs(420));
    assert_eq!(read.agent().name.as_str(), "b");
    assert!(read.must_be_sealed() && read.approval().is_none());
    assert!(!pair("a", &[], "web", "write").unwrap().must_be_sealed());
    let approved = pair("a", &[], "db", "read").unwrap();
    assert_eq!(approved.approval(), Some(Approval::Plain));
    assert!(approved.must_be_sealed());

    let why = |result: Result<_, Unpaired>| result.err().map(|e| e.to_string());
    assert_eq!(
        why(pair("b", &["a", "b"], "web", "write")).unwrap(),
        "agent `b` has no role `write` on `web`"
    );
    assert_eq!(
        why(pair("a", &[], "db", "write")).unwrap(),
        "role `write` is not among the allowed_roles of `db`"
    );
    for (agent, lineage, target) in [
        ("x", &[][..], "web"),
        ("a", &["b"], "web"),
        ("b", &["x", "b"], "web"),
        ("a", &["b", "a"], "web"),
        ("a", &[], "x"),
    ] {
        assert!(
            pair(agent, lineage, target, "read").is_err(),
            "{agent} {lineage:?} {target}"
        );
    }
}

#[test]
fn api_key_hashes_are_absent_from_debug_output() {
    let hash = "$2b$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";
    let policy = policy(&SMALL.replace("uid: 1001", &format!("api_key_hash: \"{hash}\"")));
    let agent = policy.agent(&"a".parse().unwrap()).unwrap();
    assert_eq!(agent.api_key, Some(KeySource::Inline(hash.into())));
    assert!(!format!("{policy:?}").contains("abcdefgh"));
}

#[test]
fn star_grant_applies_to_unnamed_remotes_only() {
    let policy = policy(&SMALL.replace(
        "agents:",
        "remotes:\n  dev: { url: 'https://a.example' }\n  ops: { url: 'https://b.example' }\nagents:",
    ).replace(
        "ssh: { web: { roles: [read] } }",
        "remotes: { dev: { tools: [list] }, '*': { tools: ['*'] } }",
    ));
    let remotes = &policy.agent_by_uid(1001).unwrap().remotes;
    let allows =
        |remote: &str, tool: &str| remotes.allows(&remote.parse().unwrap(), &tool.parse().unwrap());
    assert!(allows("dev", "list") && !allows("dev", "drop") && allows("ops", "drop"));
    assert_ne!(Allowed::<u8>::All, Allowed::Only([1].into()));
}
