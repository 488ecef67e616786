//! Stand-ins for Entra ID and ToolHive, as exacting as the real ones.
//!
//! No tenant and no container runtime can be reached from a test or a demonstration, so this crate
//! answers in their place: it refuses what they refuse, with their codes and their words. Where the
//! public documents leave a behaviour open, the behaviour is a switch and not a guess.
//!
//! * [`entra`] signs people in and hands out tokens; [`provider`] does so as other providers do.
//! * [`toolhive`] lists workloads and proxies MCP to them.
//! * [`mcp`] is the sample server that stands behind a workload.
//! * [`client`] is a headless MCP client that signs in as a person with a browser would.
//!
//! Everything listens on loopback only. Nothing here checks a password: a stand-in must never be
//! reachable from another machine.

pub mod client;
pub mod clock;
pub mod entra;
mod jws;
mod keys;
pub mod mcp;
mod net;
mod params;
pub mod provider;
mod random;
pub mod record;
mod reply;
mod store;
mod tls;
pub mod toolhive;
