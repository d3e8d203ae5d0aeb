//! Every code a finding can have, with one sentence each: the table behind `docs/policy-errors.md`.

/// A code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Its stable name: `E-…` refuses the policy, `W-…` warns.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Whether the JSON Schema refuses it as well, so that an editor can show it.
    pub in_schema: bool,
}

/// The code of this name.
#[must_use]
pub fn code(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name)
}

/// The reference of all codes, as Markdown: `docs/policy-errors.md`.
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
# What can be wrong with a policy

`ephyr policy validate` prints one line for each finding: `file:line:column: error CODE at key.path: what is
wrong and what to do`. All findings are reported at once. An error refuses the policy: a daemon does not start
with it, and a running one keeps the policy it has. A warning is only said. The codes are stable;
`policy/reject/` has a file for each.
";

const fn shown(name: &'static str, meaning: &'static str) -> Code {
    Code {
        name,
        meaning,
        in_schema: true,
    }
}

const fn only_here(name: &'static str, meaning: &'static str) -> Code {
    Code {
        name,
        meaning,
        in_schema: false,
    }
}

/// Every code, errors first. `shown`: the JSON Schema refuses it as well; `only_here`: it cannot.
pub static CODES: &[Code] = &[
    only_here("E-TOO-BIG", "The file is larger than 1 MiB."),
    only_here(
        "E-TOO-MANY",
        "There are more than 1000 findings; the first are shown.",
    ),
    only_here("E-NOT-UTF8", "The file is not UTF-8 text."),
    shown("E-EMPTY", "The file holds nothing."),
    only_here("E-YAML-SYNTAX", "The file cannot be read as YAML or JSON."),
    only_here(
        "E-YAML-DOCUMENTS",
        "The file holds more than one YAML document.",
    ),
    only_here(
        "E-YAML-ANCHOR",
        "The file uses a YAML anchor or alias; templates do that job.",
    ),
    only_here("E-YAML-TAG", "The file uses a YAML tag (`!…`)."),
    only_here(
        "E-YAML-LIMIT",
        "The file is nested deeper or holds more values than any policy needs.",
    ),
    shown(
        "E-MERGE-KEY",
        "The file uses a YAML merge key (`<<`); templates do that job.",
    ),
    only_here("E-DUPLICATE-KEY", "A key stands twice in one mapping."),
    shown("E-UNKNOWN-KEY", "A key is none that belongs there."),
    shown("E-MISSING-KEY", "A key that must be there is missing."),
    shown(
        "E-TYPE",
        "A value is of the wrong kind, such as text where a number is due.",
    ),
    only_here(
        "E-NUMBER",
        "A number is not written in plain decimal digits, such as `022`, `0x16` or `1e3`.",
    ),
    shown("E-RANGE", "A number is out of bounds."),
    shown("E-CHOICE", "A word is none of those that are possible."),
    shown(
        "E-DURATION",
        "A duration is not written like `1h30m`, `5m` or `90s`.",
    ),
    only_here(
        "E-DURATION-RANGE",
        "A duration is too short or too long for its key.",
    ),
    shown(
        "E-RATE",
        "A rate is not written as count/window, like `60/60s`.",
    ),
    only_here(
        "E-RATE-RANGE",
        "A rate has too high a count or too short or long a window.",
    ),
    shown(
        "E-NAME",
        "A name has a character or a length that names must not have.",
    ),
    only_here(
        "E-NAME-WORD",
        "A name without quotes means null, true or false in YAML.",
    ),
    only_here(
        "E-TEXT",
        "A text is empty, too long or has control characters.",
    ),
    shown(
        "E-EMPTY-LIST",
        "A list is empty where that would mean nothing at all.",
    ),
    shown("E-DUPLICATE-ITEM", "An item stands twice in one list."),
    shown("E-NO-AGENTS", "`agents` is empty."),
    only_here(
        "E-NO-IDENTITY",
        "An agent has neither a UID nor an API key, and nobody delegates to it.",
    ),
    only_here(
        "E-DUPLICATE-UID",
        "Two agents, or two admins, have the same UID.",
    ),
    only_here("E-UID-ROOT", "An agent has UID 0."),
    only_here(
        "E-UID-RESERVED",
        "An agent has a UID that belongs to nobody in particular.",
    ),
    shown("E-NOT-BCRYPT", "An API key's hash is not a bcrypt hash."),
    only_here(
        "E-BCRYPT-COST",
        "A bcrypt hash has a cost that cannot be or that would stall logins.",
    ),
    only_here(
        "E-TWO-KEY-SOURCES",
        "An agent has both `api_key_hash` and `api_key_hash_credential`.",
    ),
    only_here("E-SHARED-KEY", "Two agents have the same API key."),
    only_here(
        "E-UNKNOWN-TEMPLATE",
        "An agent inherits a template that does not exist.",
    ),
    only_here(
        "E-UNKNOWN-TARGET",
        "A grant names a target that does not exist.",
    ),
    only_here(
        "E-UNKNOWN-ROLE",
        "A grant or a target names a role that does not exist.",
    ),
    only_here(
        "E-UNKNOWN-SERVICE",
        "A grant names a service that does not exist.",
    ),
    only_here(
        "E-UNKNOWN-REMOTE",
        "A grant names a remote that does not exist.",
    ),
    only_here(
        "E-UNKNOWN-AGENT",
        "`accept_delegation_from` names an agent that does not exist.",
    ),
    only_here(
        "E-SELF-DELEGATION",
        "An agent accepts delegation from itself.",
    ),
    only_here(
        "E-DELEGATED-ONLY",
        "A `delegated_only` agent accepts delegation from nobody.",
    ),
    only_here("E-ANY-AND-MORE", "A list holds `\"*\"` beside other items."),
    only_here("E-EGRESS-NO-UID", "An agent without a UID has `egress`."),
    only_here("E-DEFAULT-TTL", "`default_ttl` is longer than `max_ttl`."),
    only_here(
        "E-RATE-ORDER",
        "One agent's rate is higher than that of all agents together.",
    ),
    only_here(
        "E-TARGET-TTL",
        "A target's `max_ttl` is longer than the global one.",
    ),
    only_here(
        "E-HOST",
        "A host is neither a DNS name nor the IP address of a single host.",
    ),
    only_here(
        "E-DUPLICATE-HOST",
        "Two targets have the same host and port.",
    ),
    only_here(
        "E-HOST-KEY",
        "A host key is not a usable OpenSSH Ed25519 public key.",
    ),
    only_here(
        "E-HOST-KEY-MISSING",
        "A target pins no host key though `host_key_strict` holds.",
    ),
    shown("E-FINGERPRINT", "A fingerprint is not a SHA-256 one."),
    only_here(
        "E-FINGERPRINT-MISMATCH",
        "A target's fingerprint is that of none of its host keys.",
    ),
    only_here(
        "E-SHARED-ACCOUNT",
        "Two roles of a target are the same Unix account.",
    ),
    only_here("E-CIDR", "A network is not written as address/length."),
    only_here(
        "E-CIDR-HOST-BITS",
        "A network's address has bits beyond its length.",
    ),
    shown("E-ACCOUNT", "A principal is not a Unix account's name."),
    only_here(
        "E-PATH",
        "A path is not absolute or has unusual characters.",
    ),
    only_here(
        "E-SHELL",
        "A role's shell is not known to run sealed commands.",
    ),
    only_here(
        "E-STDIN",
        "A role has `stdin: true`, and standard input is not passed to commands yet.",
    ),
    only_here(
        "E-PRINCIPAL-ROOT",
        "A role's account is root, and `allow_root_equivalent` does not say that it is meant.",
    ),
    only_here(
        "E-SUDO-ALL",
        "A role may run everything as root, and `allow_root_equivalent` does not say that it is meant.",
    ),
    only_here(
        "E-SUDO-PATH",
        "A sudo command does not begin with a program's absolute path.",
    ),
    only_here(
        "E-SUDO-CHARACTERS",
        "A sudo command has characters that sudoers or a shell would expand.",
    ),
    only_here(
        "E-SUDO-ROOT",
        "A sudo command is known to be as good as root, and `allow_root_equivalent` does not say that it is meant.",
    ),
    only_here(
        "E-COMMAND-PATTERN",
        "An item of `commands` is neither a whole command nor words and ` *`.",
    ),
    shown(
        "E-COMMAND-FILTER",
        "Command filters of targets are no more; `commands` of the role lists what may run.",
    ),
    only_here(
        "E-SIGNED-NO-KEY",
        "A target wants signed approval, and no admin has a key.",
    ),
    shown(
        "E-CREDENTIAL-NAME",
        "A credential's name is not one; perhaps it is the secret itself.",
    ),
    shown(
        "E-INLINE-SECRET",
        "A secret stands in the policy; only the name of its credential belongs there.",
    ),
    only_here(
        "E-AUTH-KEY-MISSING",
        "A service or remote lacks a key that its `auth_type` needs.",
    ),
    only_here(
        "E-AUTH-KEY-UNUSED",
        "A service or remote has a key that its `auth_type` does not use.",
    ),
    only_here("E-URL", "A URL is not a plain http or https one."),
    shown(
        "E-URL-SECRET",
        "A URL holds a user, a password, a query or a fragment.",
    ),
    only_here(
        "E-DUPLICATE-URL",
        "Two services, or two remotes, have the same URL.",
    ),
    only_here(
        "E-PATH-PATTERN",
        "A path pattern is not an absolute path with `*` for whole segments.",
    ),
    shown("E-HEADER", "A header's name is not one."),
    only_here(
        "E-HEADER-RESERVED",
        "A header frames the message and cannot hold a credential.",
    ),
    shown("E-PARAMETER", "A query parameter's name is not one."),
    only_here(
        "E-HOST-PATTERN",
        "A host pattern is not a host name, or `*.` and one.",
    ),
    only_here(
        "E-EXTERNAL-ALLOW",
        "`external_allow` stands without `external: restricted`.",
    ),
    only_here("E-ADMIN-IDENTITY", "An admin has neither a UID nor a key."),
    only_here("E-ADMIN-IS-AGENT", "An admin has the UID of an agent."),
    only_here(
        "E-ADMIN-KEY",
        "An admin's key is not a usable OpenSSH Ed25519 public key.",
    ),
    only_here("E-SHARED-ADMIN-KEY", "Two admins have the same key."),
    only_here("W-NO-TARGETS", "There is no target, service or remote."),
    only_here("W-NO-ACCESS", "An agent has no grants."),
    only_here(
        "W-AGENT-LIMIT",
        "An agent's limit is higher than that of all agents together.",
    ),
    only_here("W-UNPINNED", "A target pins no host key."),
    only_here("W-WILDCARD-SSH", "An agent has roles on every target."),
    only_here(
        "W-WILDCARD-SERVICES",
        "An agent has methods on every service.",
    ),
    only_here("W-WILDCARD-REMOTES", "An agent has tools on every remote."),
    only_here(
        "W-ROLE-NOT-ALLOWED",
        "A grant names a role that its target does not allow.",
    ),
    only_here(
        "W-METHOD-NOT-ALLOWED",
        "A grant names a method that its service does not allow.",
    ),
    only_here(
        "W-AUTO-APPROVE",
        "A grant says `auto_approve: true`, but its target does not.",
    ),
    only_here("W-UNUSED-ROLE", "No target allows the role."),
    only_here("W-UNUSED-TEMPLATE", "No agent inherits the template."),
    only_here(
        "W-ROOT-MARK",
        "A role is marked `allow_root_equivalent` and needs not be.",
    ),
    only_here(
        "W-COMMAND-OPEN",
        "A command pattern leaves open the arguments of a program that can run others, write files or load code.",
    ),
    only_here(
        "W-UNSEALED-COMMANDS",
        "A role has both `commands` and `unsealed: true`.",
    ),
    only_here(
        "W-SESSION-ONLY",
        "A role has rights for sessions and can have no session.",
    ),
    only_here("W-BCRYPT-WEAK", "A bcrypt hash has a cost below 10."),
    only_here("W-EGRESS-ALL", "`egress` opens a port to every address."),
    only_here("W-PLAINTEXT", "A credential travels over http."),
];
