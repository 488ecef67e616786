//! The stand-ins as their users see them: over HTTP.

mod entra;
mod front;
mod http;
mod sign_in;
mod workload;
