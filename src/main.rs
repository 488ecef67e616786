//! The `mcp-gateway` command.

use std::process::ExitCode;

use mcp_gateway_filters::Catalog;

fn main() -> ExitCode {
    mcp_gateway::cli::main(&Catalog::builtin())
}
