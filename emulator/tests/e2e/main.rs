//! The stand-ins as their users see them: over HTTP.

mod entra;
mod http;
mod workload;
