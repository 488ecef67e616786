//! Quantities as people write them in `gateway.yaml`: `5s`, `8MiB`.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time, written like `250ms`, `5s`, `10m` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// A whole number of seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let text = String::deserialize(de)?;
        humantime::parse_duration(&text).map(Self).map_err(|_| {
            de::Error::custom(format!("`{text}` is not a time such as `5s` or `250ms`"))
        })
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        ser.collect_str(&self)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A number of bytes, written like `64KiB`, `8MiB` or a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

impl Size {
    /// A whole number of kibibytes.
    #[must_use]
    pub const fn kib(kib: usize) -> Self {
        Self(kib * 1024)
    }

    /// A whole number of mebibytes.
    #[must_use]
    pub const fn mib(mib: usize) -> Self {
        Self(mib * 1024 * 1024)
    }
}

const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let text = String::deserialize(de)?;
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
            .unwrap_or((&text, 1));
        digits
            .trim_end()
            .parse::<usize>()
            .ok()
            .and_then(|n| n.checked_mul(unit))
            .map(Self)
            .ok_or_else(|| {
                de::Error::custom(format!("`{text}` is not a size such as `64KiB` or `8MiB`"))
            })
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        ser.collect_str(&self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .iter()
            .find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        match whole {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: de::DeserializeOwned + fmt::Display>(text: &str, expect: Option<&str>) {
        let parsed: Result<T, _> = serde_yaml::from_str(text);
        assert_eq!(
            parsed.ok().map(|v| v.to_string()).as_deref(),
            expect,
            "{text}"
        );
    }

    #[test]
    fn reads_what_people_write() {
        check::<Period>("5s", Some("5s"));
        check::<Period>("1h 30m", Some("1h 30m"));
        check::<Period>("five", None);
        check::<Size>("\"8MiB\"", Some("8MiB"));
        check::<Size>("\"1000\"", Some("1000"));
        check::<Size>("\"8 furlongs\"", None);
        check::<Size>("\"99999999999GiB\"", None);
    }
}
