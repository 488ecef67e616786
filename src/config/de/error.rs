//! Serde's errors with their parts kept apart, so that they can be told in other words.

use std::fmt;

use serde::de::{self, Unexpected};

use crate::config::tree::excerpt;

/// A serde error with its parts kept apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum Error {
    Custom(String),
    Type {
        found: String,
        expected: String,
    },
    UnknownVariant {
        found: String,
        expected: &'static [&'static str],
    },
    UnknownKey {
        found: String,
        expected: &'static [&'static str],
    },
    Missing(&'static str),
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Custom(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Str(text) => format!("`{}`", excerpt(text)),
            Unexpected::Unsigned(number) => format!("`{number}`"),
            Unexpected::Signed(number) => format!("`{number}`"),
            Unexpected::Float(number) => format!("`{number}`"),
            Unexpected::Bool(flag) => format!("`{flag}`"),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map | Unexpected::StructVariant => "a map".to_owned(),
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            other => other.to_string(),
        };
        let expected = expected.to_string();
        Self::Type { found, expected }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        let found = found.to_owned();
        Self::UnknownVariant { found, expected }
    }

    fn unknown_field(found: &str, expected: &'static [&'static str]) -> Self {
        let found = found.to_owned();
        Self::UnknownKey { found, expected }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom(text) => f.write_str(text),
            Self::Type { found, expected } => write!(f, "expected {expected}, found {found}"),
            Self::UnknownVariant { found, .. } => write!(f, "unknown value `{found}`"),
            Self::UnknownKey { found, .. } => write!(f, "unknown key `{found}`"),
            Self::Missing(key) => write!(f, "missing key `{key}`"),
        }
    }
}

impl std::error::Error for Error {}
