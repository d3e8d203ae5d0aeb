//! The tables of `services` and `remotes`.

use super::common::{DESCRIPTION, ENABLED};
use crate::format::Format;
use crate::shape::{Field, Record, Shape};

const AUTH_TYPE: Field = Field::new(
    "auth_type",
    Shape::Choice(&["none", "bearer", "basic", "header", "query"]),
    "How the broker identifies itself.",
)
.default("bearer with a credential, else none");
const CREDENTIAL: Field = Field::new(
    "credential",
    Shape::Text(Format::Credential),
    "The name of the systemd credential that holds the secret.",
);
const USERNAME: Field = Field::new(
    "username",
    Shape::Text(Format::UserName),
    "The user name for `auth_type: basic`.",
);
const TOKEN_HEADER: Field = Field::new(
    "token_header",
    Shape::Text(Format::Header),
    "The header for `auth_type: header`.",
);
const QUERY_PARAMETER: Field = Field::new(
    "query_parameter",
    Shape::Text(Format::Parameter),
    "The query parameter for `auth_type: query`.",
)
.default("token");
const MAX_RESPONSE: Field = Field::new(
    "max_response_kb",
    Shape::Int {
        min: 1,
        max: 1_048_576,
    },
    "Maximum size of a response, in KiB.",
)
.default("1024");
const TIMEOUT: Field = Field::new(
    "timeout",
    Shape::Text(Format::Timeout),
    "Maximum wait for a response; at most 2m.",
)
.default("30s");
const INLINE_SECRET: &str = "the policy must not contain secrets; store it as a systemd \
                             credential and name that under `credential`";

/// An entry of `services`.
pub(super) static SERVICE: Record = Record {
    label: "a service",
    fields: &[
        DESCRIPTION,
        Field::new(
            "url_prefix",
            Shape::Text(Format::Url),
            "Scheme, host, port and path that its requests begin with.",
        )
        .required(),
        AUTH_TYPE,
        CREDENTIAL,
        USERNAME,
        TOKEN_HEADER,
        QUERY_PARAMETER,
        Field::new(
            "allowed_paths",
            Shape::List {
                of: &Shape::Text(Format::PathPattern),
                empty: false,
            },
            "Paths that may be requested; `*` stands for one segment, a final `/**` for everything below.",
        )
        .default("all below the prefix"),
        Field::new(
            "allowed_methods",
            Shape::List {
                of: &Shape::Text(Format::Method),
                empty: false,
            },
            "Methods that any agent may use on it.",
        )
        .default("as granted"),
        MAX_RESPONSE,
        TIMEOUT,
        ENABLED,
    ],
    retired: &[
        ("token", "E-INLINE-SECRET", INLINE_SECRET),
        ("password", "E-INLINE-SECRET", INLINE_SECRET),
        ("secret", "E-INLINE-SECRET", INLINE_SECRET),
        ("api_key", "E-INLINE-SECRET", INLINE_SECRET),
        (
            "tls_verify",
            "E-UNKNOWN-KEY",
            "certificates are always verified",
        ),
    ],
};

/// An entry of `remotes`.
pub(super) static REMOTE: Record = Record {
    label: "a remote",
    fields: &[
        DESCRIPTION,
        Field::new("url", Shape::Text(Format::Url), "Its MCP endpoint.").required(),
        AUTH_TYPE,
        CREDENTIAL,
        USERNAME,
        TOKEN_HEADER,
        QUERY_PARAMETER,
        MAX_RESPONSE,
        TIMEOUT,
        Field::new(
            "refresh",
            Shape::Text(Format::Refresh),
            "Interval at which its tool list is refreshed; 10s to 24h.",
        )
        .default("1m"),
        ENABLED,
    ],
    retired: &[
        ("token", "E-INLINE-SECRET", INLINE_SECRET),
        ("password", "E-INLINE-SECRET", INLINE_SECRET),
        ("secret", "E-INLINE-SECRET", INLINE_SECRET),
        ("api_key", "E-INLINE-SECRET", INLINE_SECRET),
        (
            "tls_verify",
            "E-UNKNOWN-KEY",
            "certificates are always verified",
        ),
        ("refresh_seconds", "E-UNKNOWN-KEY", "write `refresh: 60s`"),
    ],
};
