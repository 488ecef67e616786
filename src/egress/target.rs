//! Where a request goes: a URL that was checked once, when the configuration was built.
//!
//! It does not resolve names and knows nothing of proxies.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{HeaderValue, uri::PathAndQuery};
use rustls::pki_types::ServerName;
use url::{Host, Position, Url};

/// The longest URL accepted, in bytes.
const MAX_URL: usize = 8 * 1024;

/// A URL that a request can be sent to: https, or plain http on a loopback address.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    origin: Arc<str>,
    host: String,
    ip: Option<IpAddr>,
    port: u16,
    authority: HeaderValue,
    path_and_query: PathAndQuery,
    server_name: Option<ServerName<'static>>,
}

/// Why a text is no [`Target`]; the text itself is not repeated, it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL with a host.
    #[error("expected an absolute URL such as `https://login.microsoftonline.com/`")]
    NotAUrl,
    /// Longer than 8 KiB.
    #[error("expected a URL of at most 8192 bytes")]
    TooLong,
    /// Neither https nor http.
    #[error("expected an `https://` URL")]
    Scheme,
    /// Plain http beyond this machine.
    #[error("plain `http://` is accepted for loopback hosts only, expected `https://`")]
    PlainHttp,
    /// `user:password@`.
    #[error("expected a URL without user name and password")]
    Credentials,
    /// `#…`.
    #[error("expected a URL without a fragment")]
    Fragment,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// When the URL is not https (http on loopback), or carries credentials or a fragment.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > MAX_URL {
            return Err(TargetError::TooLong);
        }
        let url = Url::parse(text).map_err(|_| TargetError::NotAUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        let (host, ip) = match url.host().ok_or(TargetError::NotAUrl)? {
            Host::Domain(name) => (name.to_owned(), None),
            Host::Ipv4(ip) => (ip.to_string(), Some(IpAddr::V4(ip))),
            Host::Ipv6(ip) => (ip.to_string(), Some(IpAddr::V6(ip))),
        };
        if host.is_empty() {
            return Err(TargetError::NotAUrl);
        }
        let loopback = is_loopback(&host, ip);
        let tls = match url.scheme() {
            "https" => true,
            "http" if loopback => false,
            "http" => return Err(TargetError::PlainHttp),
            _ => return Err(TargetError::Scheme),
        };
        let server_name = if tls {
            // An empty or odd name must not switch verification off: no name, no target.
            let name = host.strip_suffix('.').unwrap_or(&host).to_owned();
            Some(ServerName::try_from(name).map_err(|_| TargetError::NotAUrl)?)
        } else {
            None
        };
        let port = url.port_or_known_default().ok_or(TargetError::NotAUrl)?;
        let authority = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(TargetError::NotAUrl),
        };
        Ok(Self {
            origin: format!("{}://{authority}", url.scheme()).into(),
            host,
            ip,
            port,
            authority: HeaderValue::try_from(authority).map_err(|_| TargetError::NotAUrl)?,
            path_and_query: url[Position::BeforePath..]
                .parse()
                .map_err(|_| TargetError::NotAUrl)?,
            server_name,
        })
    }

    /// Returns the host name or address, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Tells whether the host is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host, self.ip)
    }

    /// `scheme://host[:port]`, by which connections are pooled.
    pub(super) const fn origin(&self) -> &Arc<str> {
        &self.origin
    }

    pub(super) const fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The value of `Host`.
    pub(super) const fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// `host:port` with brackets around IPv6, as CONNECT wants it.
    pub(super) fn connect_authority(&self) -> String {
        match self.ip {
            Some(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// What the request line names.
    pub(super) const fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }

    /// The name the certificate must carry; none for plain http.
    pub(super) const fn server_name(&self) -> Option<&ServerName<'static>> {
        self.server_name.as_ref()
    }
}

fn is_loopback(host: &str, ip: Option<IpAddr>) -> bool {
    if let Some(ip) = ip {
        return ip.to_canonical().is_loopback();
    }
    // Not its subdomains: resolvers differ on those, and plain http must not leave the machine.
    host.strip_suffix('.').unwrap_or(host) == "localhost"
}

/// Without the query, which may hold what must not be logged.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path_and_query.path())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expect: Result<&str, TargetError>) {
        let found = Target::parse(url).map(|t| t.to_string());
        assert_eq!(found, expect.map(str::to_owned), "{url}");
    }

    #[test]
    fn takes_https_anywhere_and_http_on_loopback() {
        check("https://Login.Test/a?b=c", Ok("https://login.test/a"));
        check("https://login.test:8443", Ok("https://login.test:8443/"));
        check("http://127.0.0.1:80/x", Ok("http://127.0.0.1/x"));
        check("http://localhost:81/", Ok("http://localhost:81/"));
        check("http://[::1]:81/", Ok("http://[::1]:81/"));
        check("http://login.test/", Err(TargetError::PlainHttp));
        check("http://a.localhost/", Err(TargetError::PlainHttp));
        check("http://localhost.evil.test/", Err(TargetError::PlainHttp));
        check("http://127.0.0.1.evil.test/", Err(TargetError::PlainHttp));
    }

    #[test]
    fn refuses_what_is_no_plain_url() {
        check("login.test", Err(TargetError::NotAUrl));
        check("https://", Err(TargetError::NotAUrl));
        check("ftp://login.test/", Err(TargetError::Scheme));
        check("https://u:p@login.test/", Err(TargetError::Credentials));
        check("https://login.test/#x", Err(TargetError::Fragment));
        check(
            &format!("https://login.test/{}", "a".repeat(MAX_URL)),
            Err(TargetError::TooLong),
        );
    }

    #[test]
    fn never_prints_the_query() {
        let target = Target::parse("https://login.test/a?code=secret").unwrap();
        assert!(!format!("{target} {target:?}").contains("secret"));
        assert_eq!(target.path_and_query(), "/a?code=secret");
    }

    #[test]
    fn every_character_of_a_path_and_query_can_be_sent() {
        let all: String = (' '..='\u{ff}').filter(|c| *c != '#').collect();
        for url in [
            format!("https://login.test/{}?{all}", all.replace('?', "")),
            "https://login.test?x".to_owned(),
        ] {
            assert!(Target::parse(&url).is_ok(), "{url}");
        }
    }
}
