//! What a client may take: time, bytes, connections. The `limits` section.

use ipnet::IpNet;
use mcp_gateway_filters::Problem;
use serde::{Deserialize, Serialize};

use crate::units::{Period, Size};

/// The most header fields that can be configured: what is behind this layer takes 256.
pub(super) const MOST_FIELDS: usize = 250;
/// The largest request head that can be configured: what is behind this layer takes 1 MiB.
const LARGEST_HEAD: Size = Size::kib(512);

/// Limits of the public listeners. Every one has a default that an office behind one address and
/// an id token with many groups fit into.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How long the PROXY protocol and the TLS handshake may take together.
    pub handshake_timeout: Period,
    /// How long a request head may take in all, from its first byte.
    pub head_timeout: Period,
    /// How long a connection may be without a request.
    pub idle_timeout: Period,
    /// How long a client may refuse to take the next bytes of an answer.
    pub write_timeout: Period,
    /// How long a body may take whatever its size.
    pub body_grace: Period,
    /// What a client must have sent of a body for each second beyond the grace.
    pub body_rate: Size,
    /// The largest HTTP/1.1 request head.
    pub head_size: Size,
    /// The most header fields.
    pub fields: usize,
    /// The largest value of one header field: an Entra ID token with 200 groups has 12 KiB.
    pub field_size: Size,
    /// The longest path and query.
    pub target_size: Size,
    /// The most connections in all; what the limit of open files leaves room for, and at most
    /// 16,384, when it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// The most connections of one IPv4 address or one IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// Networks whose addresses are not counted one by one: offices, load balancers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt_networks: Vec<IpNet>,
    /// The most open streams of one HTTP/2 connection.
    pub http2_streams: u32,
    /// The largest HTTP/2 header list, decoded and counted as RFC 9113 §10.5.1 does.
    pub http2_header_list_size: Size,
    /// Resident memory above which new work is refused; 80 % of what this process may have when
    /// it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Period::seconds(10),
            head_timeout: Period::seconds(15),
            idle_timeout: Period::seconds(60),
            write_timeout: Period::seconds(60),
            body_grace: Period::seconds(30),
            body_rate: Size::kib(16),
            head_size: Size::kib(64),
            fields: 100,
            field_size: Size::kib(16),
            target_size: Size::kib(8),
            connections: None,
            connections_per_address: 1024,
            exempt_networks: vec![],
            http2_streams: 100,
            http2_header_list_size: Size::kib(32),
            memory: None,
        }
    }
}

impl Limits {
    /// Names the limits that nothing could be served under, at their keys.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = vec![];
        for (key, period) in [
            ("handshake_timeout", self.handshake_timeout),
            ("head_timeout", self.head_timeout),
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
        ] {
            if period.0.is_zero() {
                found.push(Problem::new(key, "expected a time, found `0s`"));
            }
        }
        let mut bound = |key, value: usize, least: usize, most: usize| {
            if !(least..=most).contains(&value) {
                let what = format!("expected {least} to {most}, found `{value}`");
                found.push(Problem::new(key, what));
            }
        };
        bound("body_rate", self.body_rate.0, 1, usize::MAX);
        bound("head_size", self.head_size.0, 1024, LARGEST_HEAD.0);
        bound("fields", self.fields, 8, MOST_FIELDS);
        bound("field_size", self.field_size.0, 256, LARGEST_HEAD.0);
        bound("target_size", self.target_size.0, 256, u16::MAX.into());
        let connections = self.connections.unwrap_or(1);
        bound("connections", connections, 1, 1 << 24);
        let per_address = self.connections_per_address;
        bound("connections_per_address", per_address, 1, 1 << 24);
        let streams = usize::try_from(self.http2_streams).unwrap_or(usize::MAX);
        bound("http2_streams", streams, 1, 10_000);
        let list = self.http2_header_list_size.0;
        bound("http2_header_list_size", list, 1024, LARGEST_HEAD.0);
        if self.memory.is_some_and(|memory| memory < Size::mib(1)) {
            found.push(Problem::new(
                "memory",
                "expected a size of `1MiB` or more, which even an idle gateway needs",
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(Limits::default().problems(), []);
    }

    #[test]
    fn names_what_would_serve_nobody() {
        let check = |yaml: &str, expect: &str| {
            let limits: Limits = serde_yaml::from_str(yaml).unwrap();
            let found: Vec<_> = limits.problems().into_iter().map(|p| p.at).collect();
            assert_eq!(found, [expect], "{yaml}");
        };
        check("head_timeout: 0s", "head_timeout");
        check("fields: 1000", "fields");
        check("head_size: \"10\"", "head_size");
        check("connections: 0", "connections");
        check("http2_streams: 0", "http2_streams");
        check("memory: 5KiB", "memory");
    }
}
