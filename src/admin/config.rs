//! The admin listener as written in `gateway.yaml`.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Where `/metrics`, `/healthz` and `/readyz` are served; never the public listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `address:port`, loopback by default.
    pub address: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9901)),
        }
    }
}
