//! The stand-ins as their users see them: over HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod api;
mod entra;
mod front;
mod grants;
mod http;
mod sign_in;
mod workload;
