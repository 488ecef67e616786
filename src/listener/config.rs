//! Listeners as written in `gateway.yaml`.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `address:port`; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS; plain HTTP when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Load balancers that start each connection with the PROXY protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What is served here.
    #[serde(default)]
    pub serve: Serve,
}

/// Who speaks the PROXY protocol, version 1 or 2.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// The networks of the load balancers. They must speak it; nobody else may.
    pub from: Vec<IpNet>,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Serve {
    /// The routes.
    #[default]
    Routes,
    /// A redirect to the same path of `public_url`.
    RedirectToHttps,
}

/// TLS of a listener, 1.2 and 1.3, HTTP/1.1 and HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// One pair for each set of names, chosen by SNI; the first also serves clients without SNI.
    pub certificates: Vec<CertificateConfig>,
}

/// A certificate chain and its private key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// A PEM file: the certificate, then its intermediates.
    pub certificate: PathBuf,
    /// A PEM file: the private key.
    pub key: PathBuf,
}
