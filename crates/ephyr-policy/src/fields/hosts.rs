//! The tables of `roles` and `targets`.

use super::common::{DESCRIPTION, ENABLED, LIST_OF_CIDRS, PORT};
use crate::format::Format;
use crate::shape::{Field, Record, Shape};

/// An entry of `roles`.
pub(super) static ROLE: Record = Record {
    label: "a role",
    fields: &[
        DESCRIPTION,
        Field::new(
            "principal",
            Shape::Text(Format::Account),
            "The Unix account on the target.",
        )
        .required(),
        Field::new(
            "shell",
            Shape::Text(Format::AbsolutePath),
            "The account's login shell: one that runs sealed commands (`docs/ssh.md`).",
        )
        .default("/bin/bash"),
        Field::new("system", Shape::Bool, "Whether it is a system account.").default("true"),
        Field::new(
            "sudo",
            Shape::BoolOrList(&Shape::List {
                of: &Shape::Text(Format::SudoCommand),
                empty: false,
            }),
            "Commands that it may run as root, with exactly these arguments, or `true` for all.",
        )
        .default("false"),
        Field::new(
            "allow_root_equivalent",
            Shape::Bool,
            "Confirms that the role may be equivalent to root.",
        )
        .default("false"),
        Field::new(
            "commands",
            Shape::List {
                of: &Shape::Text(Format::CommandPattern),
                empty: false,
            },
            "The only commands it may run: whole commands, or words and ` *` for further words.",
        )
        .default("any"),
        Field::new(
            "stdin",
            Shape::Bool,
            "Reserved: must be `false`, because standard input is not passed to commands yet.",
        )
        .default("false"),
        Field::new("pty", Shape::Bool, "Whether sessions get a terminal.").default("false"),
        Field::new(
            "unsealed",
            Shape::Bool,
            "Allows certificates that are not sealed to one command despite `commands` or approvals.",
        )
        .default("false"),
        Field::new(
            "port_forwarding",
            Shape::Bool,
            "Whether sessions may forward ports.",
        )
        .default("false"),
        Field::new(
            "agent_forwarding",
            Shape::Bool,
            "Whether sessions may forward the SSH agent.",
        )
        .default("false"),
    ],
    retired: &[
        ("command_filter", "E-COMMAND-FILTER", USE_COMMANDS),
        ("command_deny", "E-COMMAND-FILTER", USE_COMMANDS),
        ("command_allow", "E-COMMAND-FILTER", USE_COMMANDS),
    ],
};

const USE_COMMANDS: &str = "list what may run under `commands` of the role";

/// An entry of `targets`.
pub(super) static TARGET: Record = Record {
    label: "a target",
    fields: &[
        DESCRIPTION,
        Field::new(
            "host",
            Shape::Text(Format::Host),
            "Its DNS name or address.",
        )
        .required(),
        Field::new("port", PORT, "Its SSH port.").default("22"),
        Field::new(
            "vlan",
            Shape::Int { min: 1, max: 4094 },
            "Its VLAN; informational.",
        ),
        Field::new(
            "allowed_roles",
            Shape::List {
                of: &Shape::Text(Format::Role),
                empty: false,
            },
            "The roles that exist on it.",
        )
        .required(),
        Field::new(
            "max_ttl",
            Shape::Text(Format::CertTtl),
            "A certificate's maximum lifetime on it.",
        )
        .default("global.max_ttl"),
        Field::new(
            "auto_approve",
            Shape::Bool,
            "Whether grants are used without a human's approval.",
        )
        .default("false"),
        Field::new(
            "approval",
            Shape::Choice(&["plain", "signed"]),
            "How a human approves; `signed`: by an SSH signature of an admin's key.",
        )
        .default("plain"),
        Field::new(
            "force_command",
            Shape::Text(Format::ForcedCommand),
            "The command that sshd runs whatever the client requests.",
        ),
        Field::new(
            "host_key",
            Shape::OneOrList(&Shape::Text(Format::HostKey)),
            "Its host keys, as in `known_hosts` without the name.",
        ),
        Field::new(
            "host_key_fingerprint",
            Shape::Text(Format::Fingerprint),
            "The SHA-256 fingerprint of its host key.",
        ),
        Field::new(
            "source_address",
            LIST_OF_CIDRS,
            "Addresses from which the broker connects, as the target sees them.",
        )
        .default("any"),
        ENABLED,
    ],
    retired: &[
        ("command_filter", "E-COMMAND-FILTER", USE_COMMANDS),
        ("command_deny", "E-COMMAND-FILTER", USE_COMMANDS),
        ("command_allow", "E-COMMAND-FILTER", USE_COMMANDS),
        (
            "auto_revoke_on_deny",
            "E-COMMAND-FILTER",
            "a denied command is not run and does not disable the target",
        ),
    ],
};
