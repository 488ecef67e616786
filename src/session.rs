//! MCP session ids that any replica can read: sealed, bound to user, route and backend.

mod config;

pub use config::Config;
