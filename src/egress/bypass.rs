//! `NO_PROXY`: the hosts that are reached without the corporate proxy.
//!
//! The rules are those of Go's `httpproxy`, which `ToolHive` uses as well: a name covers itself and
//! its subdomains, a name with a leading dot (or `*.`) only its subdomains. Unlike there, a rule
//! that cannot be understood is a problem and not silence.

use std::net::IpAddr;

use ipnet::IpNet;
use mcp_gateway_filters::Problem;

use super::target::Target;

/// The rules of one `no_proxy` list.
#[derive(Clone, Debug, Default)]
pub(super) struct Bypass(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    host: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Hosts {
    All,
    /// Without a leading dot, in lower case.
    Name {
        name: String,
        itself: bool,
    },
    Address(IpAddr),
    Network(IpNet),
}

impl Bypass {
    /// Reads a list separated by commas or blanks.
    pub(super) fn parse(list: &str, problems: &mut Vec<Problem>) -> Self {
        let rules = list
            .split(|c: char| c == ',' || c.is_ascii_whitespace())
            .filter(|rule| !rule.is_empty())
            .filter_map(|text| {
                let rule = Rule::parse(text);
                if rule.is_none() {
                    problems.push(
                        Problem::new(
                            "no_proxy",
                            format!("`{text}` is not a host, address or network"),
                        )
                        .help("write names, `.suffixes`, addresses, networks like `10.0.0.0/8`, or `*`, with an optional port"),
                    );
                }
                rule
            });
        Self(rules.collect())
    }

    /// Tells whether a target is reached directly; loopback always is.
    pub(super) fn covers(&self, target: &Target) -> bool {
        target.is_loopback() || self.0.iter().any(|rule| rule.covers(target))
    }
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self {
                host: Hosts::All,
                port: None,
            });
        }
        if text.contains('/') {
            let network = text.parse().ok()?;
            return Some(Self {
                host: Hosts::Network(network),
                port: None,
            });
        }
        // A bare IPv6 address has colons of its own.
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Self {
                host: Hosts::Address(ip),
                port: None,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(ip) = bare.parse() {
            return Some(Self {
                host: Hosts::Address(ip),
                port,
            });
        }
        let name = host.strip_prefix('*').unwrap_or(host);
        let (name, itself) = match name.strip_prefix('.') {
            Some(suffix) => (suffix, false),
            None => (name, true),
        };
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        // `*name` without the dot is nobody's syntax.
        (plain && !name.is_empty() && !(host.starts_with('*') && itself)).then(|| Self {
            host: Hosts::Name {
                name: name.trim_end_matches('.').to_ascii_lowercase(),
                itself,
            },
            port,
        })
    }

    fn covers(&self, target: &Target) -> bool {
        if self.port.is_some_and(|port| port != target.port()) {
            return false;
        }
        match &self.host {
            Hosts::All => true,
            Hosts::Address(ip) => target.ip() == Some(*ip),
            Hosts::Network(network) => target.ip().is_some_and(|ip| network.contains(&ip)),
            Hosts::Name { name, itself } => {
                let host = target.host();
                match host.strip_suffix('.').unwrap_or(host).strip_suffix(&**name) {
                    Some("") => *itself,
                    Some(rest) => rest.ends_with('.'),
                    None => false,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, url: &str, direct: bool) {
        let mut problems = Vec::new();
        let bypass = Bypass::parse(list, &mut problems);
        assert_eq!(problems, []);
        let target = Target::parse(url).unwrap();
        assert_eq!(bypass.covers(&target), direct, "{list} for {url}");
    }

    #[test]
    fn a_name_covers_itself_and_its_subdomains() {
        check("corp.test", "https://corp.test/", true);
        check("corp.test", "https://CORP.test./", true);
        check("Corp.Test", "https://a.corp.test/", true);
        check("corp.test", "https://notcorp.test/", false);
        check("corp.test", "https://corp.test.evil.test/", false);
    }

    #[test]
    fn a_suffix_covers_subdomains_only() {
        check(".corp.test", "https://a.b.corp.test/", true);
        check("*.corp.test", "https://a.corp.test/", true);
        check(".corp.test", "https://corp.test/", false);
        check(".corp.test", "https://acorp.test/", false);
    }

    #[test]
    fn a_star_covers_everything() {
        check("*", "https://login.test/", true);
        check("a.test, *", "https://192.0.2.1/", true);
    }

    #[test]
    fn addresses_and_networks() {
        check("192.0.2.7", "https://192.0.2.7/", true);
        check("192.0.2.7", "https://192.0.2.70/", false);
        check("192.0.2.0/24", "https://192.0.2.9/", true);
        check("192.0.2.0/24", "https://192.0.3.9/", false);
        check("2001:db8::1", "https://[2001:db8::1]/", true);
        check("2001:db8::/32", "https://[2001:db8:1::1]/", true);
        check("[2001:db8::1]:8443", "https://[2001:db8::1]:8443/", true);
        check("[2001:db8::1]:8443", "https://[2001:db8::1]/", false);
        check("192.0.2.0/24", "https://name.test/", false);
    }

    #[test]
    fn a_port_narrows_a_rule() {
        check("corp.test:8443", "https://corp.test:8443/", true);
        check("corp.test:8443", "https://corp.test/", false);
        check("192.0.2.7:443", "https://192.0.2.7/", true);
    }

    #[test]
    fn loopback_is_always_direct() {
        check("", "https://localhost/", true);
        check("", "http://127.0.0.1:9/", true);
        check("", "https://[::1]/", true);
        check("", "https://login.test/", false);
        check(" a.test ,, b.test", "https://b.test/", true);
    }

    #[test]
    fn names_what_it_does_not_understand() {
        for list in [
            "10.0.0.0/99",
            "http://x",
            "a b,c*d",
            "*corp.test",
            "x:port",
            ".",
        ] {
            let mut problems = Vec::new();
            Bypass::parse(list, &mut problems);
            assert!(!problems.is_empty(), "{list}");
        }
    }
}
