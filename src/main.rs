//! The `mcp-gateway` command.

fn main() {}
