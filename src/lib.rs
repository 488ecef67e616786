//! mcp-gateway: a programmable edge proxy that puts MCP servers behind an Entra ID sign-in.

pub mod admin;
pub mod cimd;
pub mod cli;
pub mod config;
pub mod delegation;
pub mod directory;
pub mod egress;
pub mod ingress;
mod io;
pub mod listener;
pub mod oauth;
pub mod oidc;
pub mod origin;
pub mod proxy;
pub mod relay;
mod respond;
pub mod router;
pub mod seal;
pub mod secret;
pub mod server;
pub mod session;
pub mod snapshot;
pub mod telemetry;
pub mod units;
pub mod upstream;
