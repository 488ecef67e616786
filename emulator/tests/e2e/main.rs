//! The stand-ins as their users see them: over HTTP.

mod http;
mod workload;
