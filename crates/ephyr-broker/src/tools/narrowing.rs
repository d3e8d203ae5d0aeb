//! The schema of the argument `envelope`, which narrows a task by pairs and by flat filters.

use ephyr_mcp::schema::{Object, Schema};

/// Maximum number of names in one list or map; more do not fit into a token.
const MOST: usize = 200;

/// Returns the argument's schema.
pub(super) fn schema() -> Schema {
    let name = || Schema::string(1..=128);
    let names = || Schema::array(name(), 0..=MOST);
    let pairs = |what: &'static str| Schema::map(names(), 0..=MOST).describe(what);
    let object = Object::new()
        .optional(
            "ssh",
            pairs("roles by target, such as {\"web\": [\"read\"]}"),
        )
        .optional("http", pairs("methods by service"))
        .optional("mcp", pairs("tools by remote"))
        .optional("targets", names().describe("only these targets"))
        .optional("roles", names().describe("only these roles"))
        .optional("services", names().describe("only these services"))
        .optional("methods", names().describe("only these HTTP methods"))
        .optional("remotes", names().describe("only these remotes"));
    Schema::object(object)
        .describe("what the task is held to; what is left out stays as it is, an empty list denies")
}
