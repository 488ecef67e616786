//! Request parameters, from a query or a form, in order and with their repetitions.

/// Decoded name and value pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// Finds a value; an empty one counts as absent (RFC 6749 §3.1).
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|(key, value)| (key == name && !value.is_empty()).then_some(value.as_str()))
    }

    /// Finds a parameter that stands there twice.
    pub(crate) fn repeated(&self) -> Option<&str> {
        self.0.iter().enumerate().find_map(|(index, (name, _))| {
            self.0
                .iter()
                .skip(index + 1)
                .any(|(other, _)| other == name)
                .then_some(name.as_str())
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_parameter_is_found_by_its_decoded_name() {
        assert_eq!(Params::parse(b"a=1&%61=2").repeated(), Some("a"));
        assert_eq!(Params::parse(b"a=1&b=1").repeated(), None);
    }

    #[test]
    fn an_empty_value_counts_as_absent() {
        assert_eq!(Params::parse(b"scope=").find("scope"), None);
        assert_eq!(Params::parse(b"scope=a+b").find("scope"), Some("a b"));
    }
}
