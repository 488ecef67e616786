//! Scheme, host and port: what every URL of one party starts with.
//!
//! Clients compare what is derived from an origin (issuer, resource) byte for byte, so it has one
//! spelling here.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::{Host, Url};

/// An origin without a trailing slash, `https://mcp.example.com`; plain http only for loopback.
///
/// Lower case, no default port, no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    origin: String,
    authority: String,
}

impl Origin {
    /// Reads an origin.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|why| {
            format!("`{text}` is not a URL such as `https://mcp.example.com`: {why}")
        })?;
        match (url.scheme(), url.host()) {
            ("https", Some(_)) => {}
            ("http", Some(host)) if is_loopback(&host) => {}
            ("http", Some(host)) => {
                return Err(format!(
                    "expected https, found http for `{host}`; plain http is for loopback only"
                ));
            }
            _ => {
                return Err(format!(
                    "expected a URL that starts with `https://`, found `{text}`"
                ));
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "expected scheme, host and port only, found a user name or a password".to_owned(),
            );
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(format!(
                "expected scheme, host and port only, found `{text}`"
            ));
        }
        let origin = url.origin().ascii_serialization();
        let authority = origin
            .split_once("://")
            .map_or_else(String::new, |(_, rest)| rest.to_owned());
        Ok(Self { origin, authority })
    }

    /// Returns the origin, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.origin
    }

    /// Returns `host` or `host:port`, as a `Host` header for this origin carries it.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the URL of a path, which starts with a slash.
    #[must_use]
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Says whether clients come over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }
}

/// Says whether a host is this machine: `localhost`, 127.0.0.0/8 or `[::1]`.
#[must_use]
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(de)?).map_err(de::Error::custom)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        ser.serialize_str(&self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        let read = Origin::parse(text);
        assert_eq!(read.as_ref().ok().map(Origin::as_str), expect, "{read:?}");
    }

    #[test]
    fn has_one_spelling() {
        check("https://mcp.example.com", Some("https://mcp.example.com"));
        check(
            "https://MCP.Example.com:443/",
            Some("https://mcp.example.com"),
        );
        check("https://localhost:8443", Some("https://localhost:8443"));
    }

    #[test]
    fn is_https_unless_it_is_loopback() {
        check("http://127.0.0.1:8080", Some("http://127.0.0.1:8080"));
        check("http://[::1]:8080", Some("http://[::1]:8080"));
        check("http://mcp.example.com", None);
        check("ftp://mcp.example.com", None);
        check("https://", None);
    }

    #[test]
    fn is_an_origin_and_nothing_else() {
        check("https://mcp.example.com/edge", None);
        check("https://mcp.example.com?x=1", None);
        check("https://user@mcp.example.com", None);
    }
}
