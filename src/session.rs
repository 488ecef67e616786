//! MCP session ids that any replica can read: sealed, bound to user, route and backend.
//!
//! A client gets, instead of the workload's `Mcp-Session-Id`, that id and the address of the backend
//! that issued it, encrypted and authenticated ([`Sealer`]). So any replica finds the backend
//! without a table, nobody can make up an id or use another user's, and there is nothing to store,
//! to evict or to lose in a restart. Whether the backend still lives is not known here.

mod config;
mod seal;

pub use config::Config;
pub use seal::{Claim, MAX_SEALED, Opened, SealError, Sealer, SessionError};
