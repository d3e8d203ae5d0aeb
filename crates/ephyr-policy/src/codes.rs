//! The table of all diagnostic codes, from which `docs/policy-errors.md` is generated.

/// A diagnostic code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The stable name: `E-…` refuses the policy, `W-…` warns.
    pub name: &'static str,
    /// The meaning in one sentence.
    pub meaning: &'static str,
    /// Whether the JSON Schema refuses the fault too, so that an editor can show it.
    pub in_schema: bool,
}

/// Returns the code with this name.
#[must_use]
pub fn code(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name)
}

/// Returns the content of `docs/policy-errors.md`: all codes with their meanings.
#[must_use]
pub fn codes_markdown() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(INTRODUCTION);
    for (title, letter) in [("Errors", 'E'), ("Warnings", 'W')] {
        let _ = write!(text, "\n## {title}\n\n| code | meaning |\n|---|---|\n");
        for code in CODES.iter().filter(|code| code.name.starts_with(letter)) {
            let _ = writeln!(text, "| `{}` | {} |", code.name, code.meaning);
        }
    }
    text
}

const INTRODUCTION: &str = "\
# Policy diagnostics

`ephyr policy validate` prints one line for each finding: `file:line:column: error CODE at key.path: message`.
All findings are reported at once. An error refuses the policy: a daemon does not start
with it, and a running one keeps the policy it has. A warning does not refuse it. The codes are
stable; `policy/reject/` has an example of each error.
";

const fn schema_code(name: &'static str, meaning: &'static str) -> Code {
    Code {
        name,
        meaning,
        in_schema: true,
    }
}

const fn compiler_code(name: &'static str, meaning: &'static str) -> Code {
    Code {
        name,
        meaning,
        in_schema: false,
    }
}

/// All codes, errors first. The JSON Schema also refuses faults of `schema_code`; it cannot detect those of
/// `compiler_code`.
pub static CODES: &[Code] = &[
    compiler_code("E-TOO-BIG", "The file is larger than 1 MiB."),
    compiler_code(
        "E-TOO-MANY",
        "There are more than 1000 findings; the first are shown.",
    ),
    compiler_code("E-NOT-UTF8", "The file is not UTF-8 text."),
    schema_code("E-EMPTY", "The file is empty."),
    compiler_code("E-YAML-SYNTAX", "The file cannot be read as YAML or JSON."),
    compiler_code(
        "E-YAML-DOCUMENTS",
        "The file holds more than one YAML document.",
    ),
    compiler_code(
        "E-YAML-ANCHOR",
        "The file uses a YAML anchor or alias; use templates.",
    ),
    compiler_code("E-YAML-TAG", "The file uses a YAML tag (`!…`)."),
    compiler_code(
        "E-YAML-LIMIT",
        "The file is nested deeper or holds more values than any policy needs.",
    ),
    schema_code(
        "E-MERGE-KEY",
        "The file uses a YAML merge key (`<<`); use templates.",
    ),
    compiler_code("E-DUPLICATE-KEY", "A mapping has the same key twice."),
    schema_code("E-UNKNOWN-KEY", "A key is not known in this mapping."),
    schema_code("E-MISSING-KEY", "A required key is missing."),
    schema_code(
        "E-TYPE",
        "A value has the wrong type, such as text instead of a number.",
    ),
    compiler_code(
        "E-NUMBER",
        "A number is not written in plain decimal digits, such as `022`, `0x16` or `1e3`.",
    ),
    schema_code("E-RANGE", "A number is out of bounds."),
    schema_code("E-CHOICE", "A word is not one of the allowed values."),
    schema_code(
        "E-DURATION",
        "A duration is not written like `1h30m`, `5m` or `90s`.",
    ),
    compiler_code(
        "E-DURATION-RANGE",
        "A duration is too short or too long for its key.",
    ),
    schema_code(
        "E-RATE",
        "A rate is not written as count/window, like `60/60s`.",
    ),
    compiler_code(
        "E-RATE-RANGE",
        "A rate has too high a count or too short or long a window.",
    ),
    schema_code("E-NAME", "A name has an invalid character or length."),
    compiler_code(
        "E-NAME-WORD",
        "A name without quotes means null, true or false in YAML.",
    ),
    compiler_code(
        "E-TEXT",
        "A text is empty, too long or has control characters.",
    ),
    schema_code(
        "E-EMPTY-LIST",
        "A list is empty where an empty list has no meaning.",
    ),
    schema_code("E-DUPLICATE-ITEM", "A list has the same item twice."),
    schema_code("E-NO-AGENTS", "`agents` is empty."),
    compiler_code(
        "E-NO-IDENTITY",
        "An agent has neither a UID nor an API key and is not `delegated_only`.",
    ),
    compiler_code(
        "E-DUPLICATE-UID",
        "Two agents, or two admins, have the same UID.",
    ),
    compiler_code("E-UID-ROOT", "An agent has UID 0."),
    compiler_code(
        "E-UID-RESERVED",
        "An agent has a reserved UID, such as that of `nobody`.",
    ),
    schema_code("E-NOT-BCRYPT", "An API key's hash is not a bcrypt hash."),
    compiler_code(
        "E-BCRYPT-COST",
        "A bcrypt hash has a cost below 4 or above 14.",
    ),
    compiler_code(
        "E-TWO-KEY-SOURCES",
        "An agent has both `api_key_hash` and `api_key_hash_credential`.",
    ),
    compiler_code("E-SHARED-KEY", "Two agents have the same API key."),
    compiler_code(
        "E-UNKNOWN-TEMPLATE",
        "An agent inherits a template that does not exist.",
    ),
    compiler_code(
        "E-UNKNOWN-TARGET",
        "A grant names a target that does not exist.",
    ),
    compiler_code(
        "E-UNKNOWN-ROLE",
        "A grant or a target names a role that does not exist.",
    ),
    compiler_code(
        "E-UNKNOWN-SERVICE",
        "A grant names a service that does not exist.",
    ),
    compiler_code(
        "E-UNKNOWN-REMOTE",
        "A grant names a remote that does not exist.",
    ),
    compiler_code(
        "E-UNKNOWN-AGENT",
        "`accept_delegation_from` names an agent that does not exist.",
    ),
    compiler_code(
        "E-SELF-DELEGATION",
        "An agent accepts delegation from itself.",
    ),
    compiler_code(
        "E-DELEGATED-ONLY",
        "A `delegated_only` agent accepts delegation from no agent.",
    ),
    compiler_code("E-ANY-AND-MORE", "A list has `\"*\"` and other items."),
    compiler_code("E-EGRESS-NO-UID", "An agent without a UID has `egress`."),
    compiler_code("E-DEFAULT-TTL", "`default_ttl` is longer than `max_ttl`."),
    compiler_code(
        "E-RATE-ORDER",
        "One agent's rate is higher than that of all agents together.",
    ),
    compiler_code(
        "E-TARGET-TTL",
        "A target's `max_ttl` is longer than the global one.",
    ),
    compiler_code(
        "E-HOST",
        "A host is neither a DNS name nor the IP address of a single host.",
    ),
    compiler_code(
        "E-DUPLICATE-HOST",
        "Two targets have the same host and port.",
    ),
    compiler_code(
        "E-HOST-KEY",
        "A host key is not a usable OpenSSH Ed25519 public key.",
    ),
    compiler_code(
        "E-HOST-KEY-MISSING",
        "A target pins no host key although `host_key_strict` is `true`.",
    ),
    schema_code("E-FINGERPRINT", "A fingerprint is not a SHA-256 one."),
    compiler_code(
        "E-FINGERPRINT-MISMATCH",
        "A target's fingerprint matches none of its host keys.",
    ),
    compiler_code(
        "E-SHARED-ACCOUNT",
        "Two roles of a target use the same Unix account.",
    ),
    compiler_code("E-CIDR", "A network is not written as address/length."),
    compiler_code("E-CIDR-HOST-BITS", "A network's address has host bits set."),
    schema_code("E-ACCOUNT", "A principal is not a Unix account's name."),
    compiler_code(
        "E-PATH",
        "A path is not absolute or has unusual characters.",
    ),
    compiler_code(
        "E-SHELL",
        "A role's shell is not known to run sealed commands.",
    ),
    compiler_code(
        "E-STDIN",
        "A role has `stdin: true`, and standard input is not passed to commands yet.",
    ),
    compiler_code(
        "E-PRINCIPAL-ROOT",
        "A role's account is root, and `allow_root_equivalent` is not `true`.",
    ),
    compiler_code(
        "E-SUDO-ALL",
        "A role may run everything as root, and `allow_root_equivalent` is not `true`.",
    ),
    compiler_code(
        "E-SUDO-PATH",
        "A sudo command does not begin with a program's absolute path.",
    ),
    compiler_code(
        "E-SUDO-CHARACTERS",
        "A sudo command has characters that sudoers or a shell would expand.",
    ),
    compiler_code(
        "E-SUDO-ROOT",
        "A sudo command is known to be equivalent to root, and `allow_root_equivalent` is not `true`.",
    ),
    compiler_code(
        "E-COMMAND-PATTERN",
        "An item of `commands` is neither a whole command nor words and ` *`.",
    ),
    schema_code(
        "E-COMMAND-FILTER",
        "Command filters are not supported; list the allowed commands under `commands` of the role.",
    ),
    compiler_code(
        "E-SIGNED-NO-KEY",
        "A target requires signed approval, but no admin of level `admin` has a key.",
    ),
    schema_code(
        "E-CREDENTIAL-NAME",
        "A credential's name is invalid; it may be the secret itself.",
    ),
    schema_code(
        "E-INLINE-SECRET",
        "The policy contains a secret; write the name of its credential instead.",
    ),
    compiler_code(
        "E-AUTH-KEY-MISSING",
        "A service or remote lacks a key that its `auth_type` needs.",
    ),
    compiler_code(
        "E-AUTH-KEY-UNUSED",
        "A service or remote has a key that its `auth_type` does not use.",
    ),
    compiler_code("E-URL", "A URL is not a plain http or https one."),
    schema_code(
        "E-URL-SECRET",
        "A URL holds a user, a password, a query or a fragment.",
    ),
    compiler_code(
        "E-DUPLICATE-URL",
        "Two services, or two remotes, have the same URL.",
    ),
    compiler_code(
        "E-PATH-PATTERN",
        "A path pattern is not an absolute path with `*` for whole segments.",
    ),
    schema_code("E-HEADER", "A header's name is invalid."),
    compiler_code(
        "E-HEADER-RESERVED",
        "A header frames the message and cannot hold a credential.",
    ),
    schema_code("E-PARAMETER", "A query parameter's name is invalid."),
    compiler_code(
        "E-HOST-PATTERN",
        "A host pattern is not a host name, or `*.` and one.",
    ),
    compiler_code(
        "E-EXTERNAL-ALLOW",
        "`external_allow` is set without `external: restricted`.",
    ),
    compiler_code("E-ADMIN-IDENTITY", "An admin has neither a UID nor a key."),
    compiler_code("E-ADMIN-IS-AGENT", "An admin has the UID of an agent."),
    compiler_code(
        "E-ADMIN-KEY",
        "An admin's key is not a usable OpenSSH Ed25519 public key.",
    ),
    compiler_code("E-SHARED-ADMIN-KEY", "Two admins have the same key."),
    compiler_code("W-NO-TARGETS", "There is no target, service or remote."),
    compiler_code("W-NO-ACCESS", "An agent has no grants."),
    compiler_code(
        "W-AGENT-LIMIT",
        "An agent's limit is higher than that of all agents together.",
    ),
    compiler_code("W-UNPINNED", "A target pins no host key."),
    compiler_code("W-WILDCARD-SSH", "An agent has roles on every target."),
    compiler_code(
        "W-WILDCARD-SERVICES",
        "An agent has methods on every service.",
    ),
    compiler_code("W-WILDCARD-REMOTES", "An agent has tools on every remote."),
    compiler_code(
        "W-ROLE-NOT-ALLOWED",
        "A grant names a role that its target does not allow.",
    ),
    compiler_code(
        "W-METHOD-NOT-ALLOWED",
        "A grant names a method that its service does not allow.",
    ),
    compiler_code(
        "W-AUTO-APPROVE",
        "A grant has `auto_approve: true`, but its target does not.",
    ),
    compiler_code("W-UNUSED-ROLE", "No target allows the role."),
    compiler_code("W-UNUSED-TEMPLATE", "No agent inherits the template."),
    compiler_code(
        "W-ROOT-MARK",
        "A role has `allow_root_equivalent: true`, but nothing in it is known to require that.",
    ),
    compiler_code(
        "W-COMMAND-OPEN",
        "A command pattern leaves open the arguments of a program that can run others, write files or load code.",
    ),
    compiler_code(
        "W-UNSEALED-COMMANDS",
        "A role has both `commands` and `unsealed: true`.",
    ),
    compiler_code(
        "W-SESSION-ONLY",
        "A role has SSH session rights but cannot get an SSH session.",
    ),
    compiler_code("W-BCRYPT-WEAK", "A bcrypt hash has a cost below 10."),
    compiler_code("W-EGRESS-ALL", "`egress` opens a port to every address."),
    compiler_code("W-PLAINTEXT", "A credential travels over http."),
];
