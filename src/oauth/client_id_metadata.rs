//! Whether clients may be known by documents of their own, as every profile writes it.
//!
//! What is fetched, and from where, is for the step that does it; here it is only passed on.

use serde::{Deserialize, Deserializer, de};

use super::plain::{Setting, Step};

/// `true`, `false`, or the settings of the documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientIdMetadata(Option<Setting>);

impl ClientIdMetadata {
    /// Says whether documents are fetched.
    pub(super) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Says whether documents are fetched from hosts that nobody named.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let Some(Setting::Map(settings)) = &self.0 else {
            return false;
        };
        let named = |(key, hosts): &(String, Setting)| {
            key == "hosts" && !matches!(hosts, Setting::List(hosts) if hosts.is_empty())
        };
        !settings.iter().any(named)
    }

    /// The step that puts the client id that the provider knows in the place of a client's own.
    pub(super) fn resolve_client(&self, place: &str, client_id: &str) -> Step {
        Step::new(
            "resolve_client",
            [("in", place.into()), ("client_id", client_id.into())],
        )
        .with("client_id_metadata", self.0.clone())
    }
}

impl<'de> Deserialize<'de> for ClientIdMetadata {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        match Setting::deserialize(de)? {
            Setting::Flag(false) => Ok(Self(None)),
            Setting::Flag(true) => Ok(Self(Some(Setting::map([])))),
            settings @ Setting::Map(_) => Ok(Self(Some(settings))),
            _ => Err(de::Error::custom(
                "expected `true`, `false`, or a map such as `{hosts: [claude.ai]}`",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, on: bool, expect: &str) {
        let read: ClientIdMetadata = serde_yaml::from_str(yaml).unwrap();
        assert_eq!(read.is_on(), on, "{yaml}");
        let step = read.resolve_client("query", "c");
        let step = serde_yaml::to_string(&step).unwrap();
        let settings = "resolve_client:\n  in: query\n  client_id: c\n";
        assert_eq!(step.strip_prefix(settings), Some(expect), "{yaml}");
    }

    #[test]
    fn it_is_open_until_hosts_are_named() {
        for (yaml, open) in [
            ("false", false),
            ("true", true),
            ("{networks: [10.0.0.0/8]}", true),
            ("{hosts: []}", true),
            ("{hosts: [a.test]}", false),
        ] {
            let read: ClientIdMetadata = serde_yaml::from_str(yaml).unwrap();
            assert_eq!(read.is_open(), open, "{yaml}");
        }
    }

    #[test]
    fn it_is_a_switch_with_settings() {
        check("false", false, "");
        check("true", true, "  client_id_metadata: {}\n");
        check(
            "{hosts: [a.test]}",
            true,
            "  client_id_metadata:\n    hosts:\n    - a.test\n",
        );
        let wrong: Result<ClientIdMetadata, _> = serde_yaml::from_str("[claude.ai]");
        assert!(wrong.unwrap_err().to_string().contains("expected `true`"));
    }
}
