//! ToolHive on loopback: the management API, and workloads behind their proxies.
//!
//! [`Workload`] is one proxy with one server behind it, as `thv run` starts it for a server on
//! standard input and output: one process, one MCP session with it, shared by every client. The
//! proxy's answers are ToolHive's byte for byte, since a gateway has to tell them apart.
//! [`Api`] is what `thv serve` answers about workloads.
//!
//! What it does not do: policies (`authz`), metrics, the deprecated SSE proxy mode, registries,
//! secrets.

mod api;
mod auth;
mod disconnect;
mod fault;
mod listed;
mod management;
mod process;
mod proxy;
mod revision;
mod routing;
mod rpc;
mod streamable;
mod workload;

pub use api::{Api, ApiBuilder, ApiFault, Command};
pub use auth::Oidc;
pub use disconnect::Disconnect;
pub use fault::Fault;
pub use listed::{Listed, Status};
pub use proxy::Kind;
pub use workload::{Builder, Workload};
