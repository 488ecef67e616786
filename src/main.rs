//! The `mcp-gateway` command.

use std::process::ExitCode;

use mcp_gateway_filters::Catalog;
use tikv_jemallocator::Jemalloc;

/// Gives memory back to the system by a thread of its own, also while nothing happens, and costs a
/// request less than glibc's. How soon is said in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    mcp_gateway::cli::main(&Catalog::builtin())
}
