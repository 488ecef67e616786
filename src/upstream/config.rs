//! An upstream as written in `gateway.yaml`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::units::Period;

/// A named pool of backends that serve the same thing.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The addresses that serve it, at least one.
    pub backends: Vec<BackendConfig>,
    /// How each backend is asked whether it is well.
    #[serde(default)]
    pub health_check: HealthCheckConfig,
    /// TLS towards the backends; plain HTTP when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// How long a connection may take to be made.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Period,
    /// How long an unused connection is kept. ToolHive closes its side after 30 s.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Period,
}

const fn connect_timeout() -> Period {
    Period::seconds(2)
}

const fn idle_timeout() -> Period {
    Period::seconds(25)
}

/// One backend: `host:port`, or a map when it has a weight.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum BackendConfig {
    /// `host:port`, weight 1.
    Address(String),
    /// With a weight.
    Weighted {
        /// `host:port`.
        address: String,
        /// Its share of the requests relative to the others, 1 to 1000.
        weight: u32,
    },
}

impl BackendConfig {
    /// Returns `host:port` as configured.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::Address(address) | Self::Weighted { address, .. } => address,
        }
    }

    /// Returns the share of requests.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        match self {
            Self::Address(_) => 1,
            Self::Weighted { weight, .. } => *weight,
        }
    }
}

/// An active HTTP health check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheckConfig {
    /// The path asked for with GET.
    pub path: String,
    /// The time between two checks, varied by up to a tenth so that replicas do not march in step.
    pub interval: Period,
    /// How long a check may take.
    pub timeout: Period,
    /// Failures in a row until a backend is ejected.
    pub unhealthy_after: u32,
    /// Successes in a row until it is taken back.
    pub healthy_after: u32,
    /// What the answer must be.
    pub expect: Expect,
}

/// What a healthy backend answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// 200 and a JSON object whose `status` is `healthy`: a ToolHive workload.
    Toolhive,
    /// Any 2xx.
    Success,
}

impl Default for HealthCheckConfig {
    fn default() -> Self {
        Self {
            path: "/health".to_owned(),
            interval: Period::seconds(5),
            timeout: Period::seconds(2),
            unhealthy_after: 2,
            healthy_after: 1,
            expect: Expect::Toolhive,
        }
    }
}

/// TLS towards the backends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The name that the backends' certificates must carry; never empty.
    pub sni: String,
    /// A PEM file of authorities to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}
