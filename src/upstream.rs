//! Named pools of backends: who may be asked, who is healthy, who is asked next.
//!
//! A [`Pool`] is built from one entry of `upstreams:` and lives as long as that entry stays the
//! same, across reloads. It knows addresses, health and load; it never sees a request. Connecting,
//! retrying and pinning a session are the proxy's: it asks [`Pool::pick`] or [`Pool::find`], and
//! tells the backend when a connection could not be made.

mod address;
mod backend;
mod check;
mod config;
#[cfg(test)]
mod fake;
mod peer;
mod pool;
mod probe;
mod random;
mod reason;
mod supervise;

pub use backend::{Backend, Picked};
pub use config::{BackendConfig, Config, Expect, HealthCheckConfig, TlsConfig};
pub use pool::{BackendStatus, Pool};
pub use probe::{Answered, Probe};
