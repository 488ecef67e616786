//! An upstream as written in `gateway.yaml`.

use std::{fmt, path::PathBuf, time::Duration};

use http::uri::PathAndQuery;
use mcp_gateway_filters::Problem;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, value::MapAccessDeserializer},
};

use super::pool;
use crate::units::Period;

/// The most backends of one upstream: a pick looks at each of them.
const MAX_BACKENDS: usize = 256;

/// The largest weight.
const MAX_WEIGHT: u32 = 1000;

/// The longest time that any of the settings can be.
const MAX_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

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
#[derive(Clone, Debug, PartialEq, Eq)]
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

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Weighted {
    address: String,
    weight: u32,
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

// By hand: an untagged enum would answer every mistake with "did not match any variant".
impl<'de> Deserialize<'de> for BackendConfig {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = BackendConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`host:port` or a map of `address` and `weight`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(BackendConfig::Address(text.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let Weighted { address, weight } =
                    Weighted::deserialize(MapAccessDeserializer::new(map))?;
                Ok(BackendConfig::Weighted { address, weight })
            }
        }

        de.deserialize_any(Visitor)
    }
}

impl Serialize for BackendConfig {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        match self.clone() {
            Self::Address(address) => ser.serialize_str(&address),
            Self::Weighted { address, weight } => Weighted { address, weight }.serialize(ser),
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

impl Config {
    /// Judges everything that [`Pool::build`](super::Pool::build) would, and builds nothing.
    ///
    /// # Errors
    /// Every mistake, each named by where it stands.
    pub fn check(&self) -> Result<(), Vec<Problem>> {
        pool::parse(self).map(drop)
    }

    /// Returns what is wrong with the numbers and the path; addresses and TLS are judged by those
    /// who read them.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = vec![];
        match self.backends.len() {
            0 => problems.push(Problem::new(
                "backends",
                "expected at least one `host:port`",
            )),
            1..=MAX_BACKENDS => {}
            many => problems.push(Problem::new(
                "backends",
                format!("found {many} backends, expected at most {MAX_BACKENDS}"),
            )),
        }
        for (index, backend) in self.backends.iter().enumerate() {
            let weight = backend.weight();
            if !(1..=MAX_WEIGHT).contains(&weight) {
                problems.push(Problem::new(
                    format!("backends[{index}].weight"),
                    format!("found {weight}, expected 1 to {MAX_WEIGHT}"),
                ));
            }
        }
        let check = &self.health_check;
        for (at, period) in [
            ("connect_timeout", self.connect_timeout),
            ("idle_timeout", self.idle_timeout),
            ("health_check.interval", check.interval),
            ("health_check.timeout", check.timeout),
        ] {
            if period.0.is_zero() || period.0 > MAX_PERIOD {
                problems.push(Problem::new(
                    at,
                    format!("found `{period}`, expected more than nothing and at most a day"),
                ));
            }
        }
        for (at, times) in [
            ("health_check.unhealthy_after", check.unhealthy_after),
            ("health_check.healthy_after", check.healthy_after),
        ] {
            if times == 0 {
                problems.push(Problem::new(at, "found 0, expected at least 1"));
            }
        }
        if !check.path.starts_with('/') || check.path.parse::<PathAndQuery>().is_err() {
            problems.push(
                Problem::new("health_check.path", format!("`{}` is no path", check.path))
                    .help("a path begins with `/`, such as `/health`"),
            );
        }
        problems
    }
}
