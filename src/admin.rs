//! The admin listener: metrics, health, readiness.

mod config;

pub use config::Config;
