//! Values that must not be printed.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// A value that shows as `***` in logs, errors and `explain`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value, to be used and not to be printed.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret comes from; the value itself never stands in `gateway.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    /// The whole content of a file, without a trailing line break.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// A map with one key, as it is read; derived, it would be a YAML tag.
impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::File(path) => ser.collect_map([("file", path)]),
            Self::Env(name) => ser.collect_map([("env", name)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_written_as_it_is_read() {
        for (source, expect) in [
            (SecretSource::Env("X".to_owned()), "env: X\n"),
            (SecretSource::File("/x".into()), "file: /x\n"),
        ] {
            assert_eq!(serde_yaml::to_string(&source).unwrap(), expect);
        }
    }
}
