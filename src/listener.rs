//! Sockets that clients connect to: TLS, and what is served on each.

mod config;

pub use config::{CertificateConfig, Config, Serve, TlsConfig};
