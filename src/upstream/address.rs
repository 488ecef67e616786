//! The address of a backend as people write it: `host:port`.
//!
//! Only syntax: a name is looked up later and again and again, by [`super::supervise`].

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// A `host:port` that can be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    text: Box<str>,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Literal(IpAddr),
    Localhost,
    Name(Box<str>),
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    /// A URL where an address belongs.
    #[error("`{0}` is a URL, expected `host:port`")]
    Url(String),
    /// Nothing after the host.
    #[error("`{0}` has no port, expected `host:port`")]
    NoPort(String),
    /// A port that cannot be connected to.
    #[error("`{0}` has no usable port, expected a number from 1 to 65535 after the colon")]
    Port(String),
    /// A host that is neither a name nor an address.
    #[error(
        "`{0}` has no valid host, expected a name, an IPv4 address or an IPv6 address in brackets"
    )]
    Host(String),
    /// `0.0.0.0` or `[::]`.
    #[error("`{0}` is an address to listen on, expected one to connect to such as `127.0.0.1`")]
    Unspecified(String),
}

impl Address {
    /// Reads `host:port`; nothing is looked up.
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        if text.contains("://") {
            return Err(AddressError::Url(text.to_owned()));
        }
        let (host, port) = text
            .rsplit_once(':')
            .filter(|(host, _)| !host.contains(':') || host.ends_with(']'))
            .ok_or_else(|| AddressError::NoPort(text.to_owned()))?;
        let port = port
            .parse()
            .ok()
            .filter(|&number: &u16| number != 0 && port.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(|| AddressError::Port(text.to_owned()))?;
        let host = Host::parse(host).ok_or_else(|| AddressError::Host(text.to_owned()))?;
        if let Host::Literal(ip) = host
            && ip.is_unspecified()
        {
            return Err(AddressError::Unspecified(text.to_owned()));
        }
        Ok(Self {
            text: text.into(),
            host,
            port,
        })
    }

    /// Returns the text as configured.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns what to connect to when no name has to be looked up.
    pub(super) fn literal(&self) -> Option<Vec<SocketAddr>> {
        match &self.host {
            Host::Literal(ip) => Some(vec![SocketAddr::new(*ip, self.port)]),
            // NOTE(rfc6761 §6.3): names below `localhost` are loopback and need no resolver.
            Host::Localhost => Some(vec![
                SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, self.port)),
            ]),
            Host::Name(_) => None,
        }
    }

    /// Returns the name and port to look up, or `None` for a literal.
    pub(super) fn name(&self) -> Option<(&str, u16)> {
        match &self.host {
            Host::Name(name) => Some((name, self.port)),
            Host::Literal(_) | Host::Localhost => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Literal(ip.into()));
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Some(Self::Literal(ip.into()));
        }
        if text.eq_ignore_ascii_case("localhost") {
            return Some(Self::Localhost);
        }
        is_name(text).then(|| Self::Name(text.into()))
    }
}

/// NOTE(rfc1123 §2.1): labels of letters, digits and hyphens; the underscore is what container
/// networks use. A last label of digits only is a mistyped IPv4 address.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253
        && text.split('.').all(label)
        && !text
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: Result<&[&str], &str>) {
        let found = Address::parse(text).map(|address| {
            assert_eq!(address.as_str(), text);
            match (address.literal(), address.name()) {
                (Some(addresses), None) => addresses.iter().map(ToString::to_string).collect(),
                (None, Some((name, port))) => vec![format!("{name} {port}")],
                both => panic!("{text}: {both:?}"),
            }
        });
        let expect = expect.map(|texts| texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            found.map_err(|e| e.to_string()),
            expect.map_err(str::to_owned)
        );
    }

    #[test]
    fn literals_need_no_resolver() {
        check("127.0.0.1:9100", Ok(&["127.0.0.1:9100"]));
        check("[::1]:9100", Ok(&["[::1]:9100"]));
        check("localhost:9100", Ok(&["127.0.0.1:9100", "[::1]:9100"]));
    }

    #[test]
    fn names_are_left_to_the_resolver() {
        check("github.tools.corp:9100", Ok(&["github.tools.corp 9100"]));
        check("mcp_github:80", Ok(&["mcp_github 80"]));
        check("github.corp.:80", Ok(&["github.corp. 80"]));
    }

    #[test]
    fn mistakes_are_named() {
        check(
            "http://127.0.0.1:9100",
            Err("`http://127.0.0.1:9100` is a URL, expected `host:port`"),
        );
        check("github", Err("`github` has no port, expected `host:port`"));
        check(
            "[::1:80",
            Err("`[::1:80` has no port, expected `host:port`"),
        );
        check("::1", Err("`::1` has no port, expected `host:port`"));
        for port in ["", "0", "65536", "+80", "9100/mcp"] {
            check(
                &format!("a:{port}"),
                Err(&format!(
                    "`a:{port}` has no usable port, expected a number from 1 to 65535 after the colon"
                )),
            );
        }
        for host in ["", "127.0.0.256", "[::g]", "a b", "-a", "a..b"] {
            check(
                &format!("{host}:80"),
                Err(&format!(
                    "`{host}:80` has no valid host, expected a name, an IPv4 address or an IPv6 address in brackets"
                )),
            );
        }
        check(
            "0.0.0.0:80",
            Err(
                "`0.0.0.0:80` is an address to listen on, expected one to connect to such as `127.0.0.1`",
            ),
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = Address::parse(&text);
        }

        #[test]
        fn every_socket_address_is_an_address(ip: IpAddr, port in 1_u16..) {
            prop_assume!(!ip.is_unspecified());
            let address = SocketAddr::new(ip, port);
            let parsed = Address::parse(&address.to_string()).unwrap();
            prop_assert_eq!(parsed.literal(), Some(vec![address]));
        }
    }
}
