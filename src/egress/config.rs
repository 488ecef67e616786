//! The way out, as written in `gateway.yaml`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How requests leave for the authorization server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The proxy for https, `http://[user:password@]host:port`; empty means none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub https_proxy: String,
    /// The proxy for plain http, which only loopback authorities use; empty means none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub http_proxy: String,
    /// Hosts that are reached directly, comma separated: names, `.suffixes`, addresses, networks, `*`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub no_proxy: String,
    /// A PEM file of authorities to trust beside the system's, for egress that is inspected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}
