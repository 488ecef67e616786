//! Whose documents are fetched, as written in `gateway.yaml`.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Settings of client ID metadata documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Hosts that documents are fetched from: names, and `*.name` for everything below; any when it
    /// is empty.
    #[serde(skip_serializing_if = "Hosts::is_any")]
    pub hosts: Hosts,
    /// Networks that documents are fetched from although they are not public.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
}

/// Hosts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Tells whether every host will do.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether a host, in lower case, is one of these.
    #[must_use]
    pub fn admit(&self, host: &str) -> bool {
        let is = |pattern: &String| match pattern.strip_prefix('*') {
            Some(suffix) => host
                .strip_suffix(suffix)
                .is_some_and(|below| !below.is_empty()),
            None => pattern == host,
        };
        self.is_any() || self.0.iter().any(is)
    }
}

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let hosts = Vec::<String>::deserialize(de)?;
        hosts
            .into_iter()
            .map(|host| {
                let name = host.strip_prefix("*.").unwrap_or(&host);
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
                let valid = !name.is_empty()
                    && name.bytes().all(plain)
                    && !name.starts_with('.')
                    && !name.ends_with('.');
                if valid {
                    return Ok(host.to_ascii_lowercase());
                }
                Err(de::Error::custom(format!(
                    "expected a host such as `claude.ai` or `*.example.com`, found `{host}`"
                )))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Serialize for Hosts {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        ser.collect_seq(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(yaml: &str) -> Result<Hosts, String> {
        serde_yaml::from_str(yaml).map_err(|error: serde_yaml::Error| error.to_string())
    }

    fn check(yaml: &str, host: &str, expect: bool) {
        assert_eq!(hosts(yaml).unwrap().admit(host), expect, "{yaml} {host}");
    }

    #[test]
    fn a_name_is_itself_and_a_star_everything_below() {
        check("[claude.ai]", "claude.ai", true);
        check("[Claude.AI]", "claude.ai", true);
        check("[claude.ai]", "x.claude.ai", false);
        check("[claude.ai]", "notclaude.ai", false);
        check("['*.example.com']", "a.b.example.com", true);
        check("['*.example.com']", "example.com", false);
        check("['*.example.com']", ".example.com", false);
        check("['*.example.com']", "badexample.com", false);
        check("[]", "anything.test", true);
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for yaml in [
            "['*']",
            "['https://a.test']",
            "['a.test/x']",
            "['*a.test']",
            "['']",
            "['a.test:8443']",
            "['a.test.']",
        ] {
            assert!(
                hosts(yaml).unwrap_err().contains("expected a host"),
                "{yaml}"
            );
        }
    }
}
