//! The ephyr command: agent client, operator tool and stdio MCP bridge.

fn main() {}
