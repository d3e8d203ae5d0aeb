//! The main job, narrated: a throw-away appliance, a real sshd, and an agent over MCP.

fn main() {}
