//! The Model Context Protocol on the wire: versions, sessions, JSON-RPC, Streamable HTTP, stdio bridge.
