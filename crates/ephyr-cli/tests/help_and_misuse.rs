//! Help texts, and errors of the command line.

use ephyr_testkit::{Program, RunOutput};

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_ephyr"))
}

fn ephyr(arguments: &[&str]) -> RunOutput {
    program().run(arguments)
}

/// Every command with its subcommands.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["exec"],
    &["targets"],
    &["certs"],
    &["whoami"],
    &["health"],
    &["task"],
    &["task", "create"],
    &["task", "info"],
    &["task", "list"],
    &["task", "revoke"],
    &["mcp"],
    &["inspect"],
    &["policy"],
    &["policy", "validate"],
    &["policy", "schema"],
    &["policy", "hash"],
    &["audit"],
    &["audit", "verify"],
    &["audit", "query"],
    &["audit", "receipt"],
    &["ca", "init"],
    &["host-key"],
    &["keys", "new"],
    &["nft", "render"],
    &["target", "render"],
    &["policy", "build"],
    &["units", "render"],
    &["sandbox"],
];

#[test]
fn help_of_every_command_is_printed_with_status_0() {
    for command in COMMANDS {
        let ran = ephyr(&[*command, &["--help"]].concat());
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.err);
        assert!(ran.out.contains("Usage: ephyr"), "{command:?}: {}", ran.out);
        assert_eq!(ran.err, "", "{command:?}");
    }
}

#[test]
fn only_broker_commands_show_connection_options() {
    let shows_options = |command: &[&str]| {
        let ran = ephyr(&[command, &["--help"]].concat());
        ran.out.contains("--credential-file") && ran.out.contains("--holder-key")
    };
    for command in [&["exec"][..], &["task", "create"], &["mcp"], &["health"]] {
        assert!(shows_options(command), "{command:?}");
    }
    for command in [
        &["ca", "init"][..],
        &["policy"],
        &["audit", "verify"],
        &["sandbox"],
    ] {
        assert!(!shows_options(command), "{command:?}");
    }
    // The sandbox has its own --socket.
    assert!(ephyr(&["sandbox", "--help"]).out.contains("--socket"));
}

#[test]
fn help_shows_variable_names_without_their_values() {
    let program = program()
        .env("EPHYR_API_KEY", "eph_a_x9Kq7")
        .env("EPHYR_TOKEN", "mac_x9Kq7");
    let ran = program.run(&["--help"]);
    assert!(ran.out.contains("EPHYR_TOKEN") && ran.out.contains("EPHYR_API_KEY"));
    assert!(!ran.out.contains("x9Kq7"));
}

#[test]
fn invalid_command_line_is_status_64_with_the_cause() {
    for (arguments, word) in [
        (&["exce", "web"][..], "exce"),
        (&["exec", "web", "--", "id"], "--role"),
        (
            &["exec", "we b", "--role", "read", "--", "id"],
            "target name",
        ),
        (
            &[
                "exec",
                "web",
                "--role",
                "read",
                "--timeout",
                "0",
                "--",
                "id",
            ],
            "0",
        ),
        (&["exec", "web", "--role", "read"], "COMMAND"),
        (&["task", "revoke", "nonsense"], "ULID"),
        (
            &["task", "create", "--description", "x", "--ttl", "soon"],
            "duration",
        ),
        (
            &["task", "create", "--description", "x", "--ttl", "-5m"],
            "duration",
        ),
        (&["audit", "query", "--since", "yesterday"], "RFC 3339"),
        (
            &["--socket", "/a", "--url", "http://127.0.0.1", "targets"],
            "--url",
        ),
    ] {
        let ran = ephyr(arguments);
        assert_eq!(ran.code, 64, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(word), "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments:?}");
    }
}

#[test]
fn errors_are_json_with_the_json_option() {
    for arguments in [
        &["--json", "exce"][..],
        &["--json"],
        &["targets", "--json", "--socket", "/nonexistent"],
    ] {
        let ran = ephyr(arguments);
        let error: ephyr_testkit::Value = ran.err.parse().expect("one JSON value");
        assert!(
            error["error"].as_str().is_some_and(|text| !text.is_empty()),
            "{error}"
        );
        assert!(error["code"].is_string(), "{error}");
        assert_eq!(error["exit"], ran.code);
        assert_eq!(ran.out, "");
    }
}

#[test]
fn json_error_names_the_missing_argument() {
    let ran = ephyr(&["--json", "exec", "web", "--", "id"]);
    let error: ephyr_testkit::Value = ran.err.parse().expect("one JSON value");
    let text = error["error"].as_str().unwrap();
    assert!(
        text.contains("not provided") && text.contains("--role"),
        "{text}"
    );
}

#[test]
fn json_after_double_dash_belongs_to_the_remote_command() {
    let ran = ephyr(&["exec", "web", "--", "show", "--json"]);
    assert_eq!(ran.code, 64);
    assert!(ran.err.starts_with("error:"), "{}", ran.err);
}

#[test]
fn missing_broker_is_status_69_with_advice() {
    let missing = ephyr(&["targets", "--socket", "/nonexistent/broker.sock"]);
    assert_eq!(missing.code, 69);
    assert!(
        missing.err.contains("/nonexistent/broker.sock"),
        "{}",
        missing.err
    );
    assert!(
        missing.err.contains("is ephyr-broker running?"),
        "{}",
        missing.err
    );
    // Port 1 is reserved: nothing listens there.
    let refused = ephyr(&["targets", "--url", "http://127.0.0.1:1"]);
    assert_eq!(refused.code, 69);
    assert!(refused.err.contains("127.0.0.1:1"), "{}", refused.err);
}

#[test]
fn credential_is_not_sent_unencrypted_over_the_network() {
    let program = program().env("EPHYR_API_KEY", "eph_a_x9Kq7");
    let ran = program.run(&["targets", "--url", "http://192.0.2.1:8554"]);
    assert_eq!(ran.code, 64);
    assert!(
        ran.err.contains("unencrypted") && ran.err.contains("ssh -L"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("x9Kq7"));
}

#[test]
fn completions_are_printed_for_common_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = ephyr(&["completions", shell]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(
            ran.out.contains("ephyr") && ran.out.contains("revoke"),
            "{shell}"
        );
    }
}
