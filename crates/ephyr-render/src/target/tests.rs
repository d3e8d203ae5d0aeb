//! Tests of the accounts and files rendered from a policy.

use serde_json::Value;

use super::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLCAUUEqc3qksi4WO6zE3eR2BHZc/8F0KIJ/xvjmQH0";

fn host(roles: &str, allowed: &str) -> TargetHost {
    let text = format!(
        "roles:\n{roles}\ntargets:\n  web: {{ host: web.example, host_key: {KEY}, allowed_roles: [{allowed}] }}\n  \
         db: {{ host: db.example, host_key: {KEY}, allowed_roles: [{allowed}] }}\n\
         agents:\n  a: {{ uid: 1001, ssh: {{ \"*\": {{ roles: [{allowed}] }} }} }}\n"
    );
    let policy = ephyr_policy::load(text.as_bytes(), "test.yaml").unwrap_or_else(|d| panic!("{d}"));
    let ca = TrustedCaKeys::parse(KEY).unwrap();
    let authority = "ephyr".parse().unwrap();
    target_host(&policy, &"web".parse().unwrap(), &authority, Some(&ca)).unwrap()
}

fn content<'a>(host: &'a TargetHost, path: &str) -> &'a str {
    let file = host.files.iter().find(|file| file.path == path);
    &file.unwrap_or_else(|| panic!("no {path}")).content
}

const SNIPPET: &str = "/etc/ssh/sshd_config.d/50-ephyr-ephyr.conf";
const SUDOERS: &str = "/etc/sudoers.d/ephyr-ephyr";

/// Returns the directives that apply to all accounts: those before a `Match` and after a `Match all`.
fn global_directives(snippet: &str) -> Vec<&str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in snippet.lines().map(str::trim) {
        if line.starts_with("Match ") {
            inside = line != "Match all";
        } else if !inside && !line.is_empty() && !line.starts_with('#') {
            found.push(line);
        }
    }
    found
}

#[test]
fn account_accepts_only_its_own_principal() {
    let host = host(
        "  read: { principal: eph-read }\n  op: { principal: eph-op }\n  other: { principal: eph-other }",
        "read, op",
    );
    let names: Vec<&str> = host.accounts.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["eph-op", "eph-read"]);
    assert_eq!(
        content(&host, "/etc/ssh/ephyr/ephyr/principals/eph-read"),
        "web/read\n"
    );
    assert_eq!(
        content(&host, "/etc/ssh/ephyr/ephyr/principals/eph-op"),
        "web/op\n"
    );
    assert_eq!(
        content(&host, "/etc/ssh/ephyr/ephyr/ca.pub"),
        format!("{KEY}\n")
    );
}

#[test]
fn w38_every_directive_is_inside_a_match_of_role_accounts() {
    let host = host(
        "  read: { principal: eph-read }\n  admin: { principal: eph-admin, pty: true, port_forwarding: true }",
        "read, admin",
    );
    let snippet = content(&host, SNIPPET);
    assert_eq!(global_directives(snippet), [""; 0]);
    assert_eq!(
        global_directives("PermitTTY no\nMatch all\nX no"),
        ["PermitTTY no", "X no"]
    );
    let matches: Vec<&str> = snippet.lines().filter(|l| l.starts_with("Match")).collect();
    assert_eq!(
        matches,
        [
            "Match User eph-admin",
            "Match User eph-admin,eph-read",
            "Match all"
        ]
    );
}

#[test]
fn only_what_the_role_permits_is_enabled() {
    let open = "  read: { principal: eph-read, pty: true, agent_forwarding: true }";
    let closed = "  read: { principal: eph-read }";
    let (open, closed) = (host(open, "read"), host(closed, "read"));
    let (open, closed) = (content(&open, SNIPPET), content(&closed, SNIPPET));
    assert!(open.contains("PermitTTY yes") && open.contains("AllowAgentForwarding yes"));
    assert!(!open.contains("AllowTcpForwarding yes"));
    assert!(!closed.contains("PermitTTY yes") && closed.contains("PermitTTY no"));
}

#[test]
fn root_keeps_its_other_login_methods() {
    let host = host(
        "  all: { principal: root, allow_root_equivalent: true }\n  read: { principal: eph-read }",
        "all, read",
    );
    let snippet = content(&host, SNIPPET);
    let (_, of_root) = snippet.split_once("Match User root\n").unwrap();
    assert!(of_root.contains("TrustedUserCAKeys") && !of_root.contains("AuthorizedKeysFile"));
    assert!(snippet.contains("Match User eph-read\n"));
    assert!(!snippet.contains("root,") && !snippet.contains(",root"));
}

#[test]
fn w38_sudo_rules_are_positive_with_exact_arguments() {
    let host = host(
        "  op: { principal: eph-op, sudo: [/usr/bin/systemctl restart nginx, /usr/bin/df] }\n  \
         all: { principal: eph-all, sudo: true, allow_root_equivalent: true }\n  read: { principal: eph-read }",
        "op, all, read",
    );
    let rules = content(&host, SUDOERS);
    assert!(
        rules.contains("eph-op ALL=(root) NOPASSWD: /usr/bin/systemctl restart nginx\n"),
        "{rules}"
    );
    // Without the quotes, any arguments of df would be allowed.
    assert!(rules.contains("NOPASSWD: /usr/bin/df \"\"\n"), "{rules}");
    assert!(
        rules.contains("eph-all ALL=(ALL:ALL) NOPASSWD: ALL\n"),
        "{rules}"
    );
    assert!(!rules.contains("eph-read"), "{rules}");
    let commands = rules.lines().filter_map(|l| l.split_once("NOPASSWD:"));
    assert!(
        commands
            .into_iter()
            .all(|(_, command)| !command.contains('!'))
    );
    let file = host.files.iter().find(|f| f.path == SUDOERS).unwrap();
    assert_eq!(file.mode, "0440");
}

#[test]
fn role_without_sudo_has_no_sudoers_file() {
    let host = host("  read: { principal: eph-read, sudo: false }", "read");
    assert!(host.files.iter().all(|file| file.path != SUDOERS));
    assert_eq!(host.accounts[0].sudo, None);
}

#[test]
fn scripts_receive_port_and_source_addresses() {
    let text = format!(
        "roles: {{ read: {{ principal: eph-read }} }}\ntargets:\n  web: {{ host: h, port: 2222, host_key: {KEY}, \
         allowed_roles: [read], source_address: [10.1.2.0/24, \"2001:db8::1/128\"] }}\n\
         agents: {{ a: {{ uid: 1001, ssh: {{ web: {{ roles: [read] }} }} }} }}\n"
    );
    let policy = ephyr_policy::load(text.as_bytes(), "test.yaml").unwrap_or_else(|d| panic!("{d}"));
    let authority = "ephyr".parse().unwrap();
    let host = target_host(&policy, &"web".parse().unwrap(), &authority, None).unwrap();
    let tree = crate::debian_tree(&host);
    let variables = &tree.iter().find(|f| f.path == "target.sh").unwrap().content;
    assert!(
        variables.contains("sources='10.1.2.0/24 2001:db8::1/128'\nport='2222'\n"),
        "{variables}"
    );
}

#[test]
fn two_authorities_share_no_file() {
    let text = format!(
        "roles: {{ read: {{ principal: eph-read }} }}\ntargets:\n  web: {{ host: h, host_key: {KEY}, \
         allowed_roles: [read] }}\nagents: {{ a: {{ uid: 1001, ssh: {{ web: {{ roles: [read] }} }} }} }}\n"
    );
    let policy = ephyr_policy::load(text.as_bytes(), "test.yaml").unwrap_or_else(|d| panic!("{d}"));
    let name = "web".parse().unwrap();
    let of = |authority: &str| {
        let host = target_host(&policy, &name, &authority.parse().unwrap(), None).unwrap();
        host.files.into_iter().map(|f| f.path).collect::<Vec<_>>()
    };
    let (one, two) = (of("one"), of("two"));
    assert!(one.iter().all(|path| !two.contains(path)), "{one:?}");
    // Without CA keys there is no `ca.pub`.
    assert!(one.iter().all(|path| !path.ends_with("ca.pub")), "{one:?}");
    assert!(
        target_host(
            &policy,
            &"db".parse().unwrap(),
            &"one".parse().unwrap(),
            None
        )
        .is_none()
    );
}

#[test]
fn json_matches_the_documentation() {
    let host = host(
        "  op: { principal: eph-op, shell: /bin/sh, sudo: [/usr/bin/df -h] }\n  \
         all: { principal: eph-all, system: false, sudo: true, allow_root_equivalent: true }\n  \
         read: { principal: eph-read }",
        "op, all, read",
    );
    let json: Value = serde_json::to_value(&host).unwrap();
    assert_eq!(
        (&json["target"], &json["authority"]),
        (&"web".into(), &"ephyr".into())
    );
    let [all, op, read] = [0, 1, 2].map(|n| &json["accounts"][n]);
    assert_eq!(
        *op,
        serde_json::json!({
            "name": "eph-op", "role": "op", "shell": "/bin/sh", "home": "/var/lib/ephyr-target/eph-op",
            "system": true, "principals": ["web/op"], "sudo": ["/usr/bin/df -h"],
        })
    );
    assert_eq!(
        (&all["sudo"], &all["system"]),
        (&true.into(), &false.into())
    );
    assert!(read["sudo"].is_null() && read.get("sudo").is_some());
    let files = json["files"].as_array().unwrap();
    let revoked: Vec<&Value> = files.iter().filter(|file| file["keep"] == true).collect();
    assert_eq!(revoked.len(), 1);
    assert_eq!(
        revoked[0]["path"],
        "/var/lib/ephyr-target/ephyr.revoked_keys"
    );
}
