//! Named pools of backends: who may be asked, who is healthy, who is asked next.

mod config;

pub use config::{BackendConfig, Config, Expect, HealthCheckConfig, TlsConfig};
