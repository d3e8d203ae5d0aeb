//! The tables of `agents` and `templates`.

use super::common::{DESCRIPTION, PORT};
use crate::format::Format;
use crate::shape::{Field, Record, Shape};

const SSH: Field = Field::new(
    "ssh",
    Shape::Map {
        key: Format::TargetOrAny,
        value: &SSH_GRANT_SHAPE,
    },
    "Roles by target; `\"*\"` stands for every target that is not named.",
);
const SERVICES: Field = Field::new(
    "services",
    Shape::Map {
        key: Format::ServiceOrAny,
        value: &SERVICE_GRANT_SHAPE,
    },
    "Methods by service; `\"*\"` stands for every service that is not named.",
);
const REMOTES: Field = Field::new(
    "remotes",
    Shape::Map {
        key: Format::RemoteOrAny,
        value: &REMOTE_GRANT_SHAPE,
    },
    "Tools by remote; `\"*\"` stands for every remote that is not named.",
);
const DASHBOARD: Field = Field::new(
    "dashboard",
    Shape::Choice(&["none", "viewer", "operator", "admin"]),
    "The agent's access level on the dashboard.",
)
.default("none");
const MAX_CONCURRENT: Field = Field::new(
    "max_concurrent_certs",
    Shape::Int {
        min: 1,
        max: 100_000,
    },
    "Maximum number of active certificates of this agent.",
)
.default("3");
const REQUIRE_POP: Field = Field::new(
    "require_pop",
    Shape::Bool,
    "Whether its tokens must be bound to a key (proof of possession).",
)
.default("false");
const DELEGATED_ONLY: Field = Field::new(
    "delegated_only",
    Shape::Bool,
    "Whether it acts only by tokens that another agent delegated to it.",
)
.default("false");
const ACCEPT: Field = Field::new(
    "accept_delegation_from",
    Shape::List {
        of: &Shape::Text(Format::Agent),
        empty: true,
    },
    "Agents that may delegate to it.",
)
.default("none");
const EGRESS: Field = Field::new(
    "egress",
    Shape::List {
        of: &EGRESS_SHAPE,
        empty: true,
    },
    "Destinations that its unit may reach directly, besides the broker.",
)
.default("nothing");

/// An entry of `agents`.
pub(super) static AGENT: Record = Record {
    label: "an agent",
    fields: &[
        DESCRIPTION,
        Field::new(
            "uid",
            Shape::Int {
                min: 0,
                max: u32::MAX,
            },
            "Its UID on the appliance; omitted if it runs elsewhere.",
        ),
        Field::new(
            "api_key_hash",
            Shape::Text(Format::Bcrypt),
            "The bcrypt hash of its API key.",
        ),
        Field::new(
            "api_key_hash_credential",
            Shape::Text(Format::Credential),
            "The name of the systemd credential that holds the hash instead.",
        ),
        Field::new(
            "inherits",
            Shape::List {
                of: &Shape::Text(Format::Template),
                empty: true,
            },
            "Templates to merge, left to right: the later wins, the agent's own keys last.",
        ),
        MAX_CONCURRENT,
        SSH,
        SERVICES,
        REMOTES,
        DASHBOARD,
        REQUIRE_POP,
        DELEGATED_ONLY,
        ACCEPT,
        EGRESS,
    ],
    retired: &[(
        "can_delegate",
        "E-UNKNOWN-KEY",
        "delegation is allowed or refused for each task when it is created",
    )],
};

const NOT_IN_A_TEMPLATE: &str = "identity belongs to the agent, not to a template";

/// An entry of `templates`.
pub(super) static TEMPLATE: Record = Record {
    label: "a template",
    fields: &[
        DESCRIPTION,
        MAX_CONCURRENT,
        SSH,
        SERVICES,
        REMOTES,
        DASHBOARD,
        REQUIRE_POP,
        DELEGATED_ONLY,
        ACCEPT,
        EGRESS,
    ],
    retired: &[
        ("uid", "E-UNKNOWN-KEY", NOT_IN_A_TEMPLATE),
        ("api_key_hash", "E-UNKNOWN-KEY", NOT_IN_A_TEMPLATE),
        (
            "api_key_hash_credential",
            "E-UNKNOWN-KEY",
            NOT_IN_A_TEMPLATE,
        ),
        (
            "inherits",
            "E-UNKNOWN-KEY",
            "templates do not inherit; list them all in the agent",
        ),
    ],
};

static SSH_GRANT_SHAPE: Shape = Shape::Record(&SSH_GRANT);
static SERVICE_GRANT_SHAPE: Shape = Shape::Record(&SERVICE_GRANT);
static REMOTE_GRANT_SHAPE: Shape = Shape::Record(&REMOTE_GRANT);
static EGRESS_SHAPE: Shape = Shape::Record(&EGRESS_ITEM);

static SSH_GRANT: Record = Record {
    label: "a grant of roles",
    fields: &[
        Field::new(
            "roles",
            Shape::List {
                of: &Shape::Text(Format::Role),
                empty: false,
            },
            "Roles; the target's `allowed_roles` narrow them.",
        )
        .required(),
        Field::new(
            "auto_approve",
            Shape::Bool,
            "`false`: a human approves each use, whatever the target says.",
        )
        .default("true"),
    ],
    retired: &[],
};

static SERVICE_GRANT: Record = Record {
    label: "a grant of methods",
    fields: &[Field::new(
        "methods",
        Shape::List {
            of: &Shape::Text(Format::MethodOrAny),
            empty: false,
        },
        "HTTP methods; `\"*\"` for all.",
    )
    .required()],
    retired: &[],
};

static REMOTE_GRANT: Record = Record {
    label: "a grant of tools",
    fields: &[Field::new(
        "tools",
        Shape::List {
            of: &Shape::Text(Format::ToolOrAny),
            empty: false,
        },
        "Tools of the remote, without its name; `\"*\"` for all.",
    )
    .required()],
    retired: &[],
};

static EGRESS_ITEM: Record = Record {
    label: "a destination",
    fields: &[
        Field::new("cidr", Shape::Text(Format::Cidr), "Its addresses.").required(),
        Field::new("port", PORT, "Its TCP port.").required(),
    ],
    retired: &[],
};
