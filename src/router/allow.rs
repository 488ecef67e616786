//! `GET /api/v1beta/workloads/*`: one entry of a list of what may be asked for.

use std::fmt;

use http::Method;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A method and a path that may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// The method.
    pub method: Method,
    /// The exact path, or a prefix when it ends in `/*`.
    pub path: String,
}

impl Allow {
    fn parse(text: &str) -> Option<Self> {
        let (method, path) = text.split_once(' ')?;
        let path = path.trim_start();
        let known = METHODS.contains(&method);
        let plain = path.starts_with('/') && !path.contains(char::is_whitespace);
        // A star anywhere but as the last segment would be taken for a pattern, and is none.
        let star = path.strip_suffix("/*").unwrap_or(path).contains('*');
        (known && plain && !star).then_some(())?;
        Some(Self {
            method: method.parse().ok()?,
            path: path.to_owned(),
        })
    }

    /// Says whether a request is meant: the path is the request's own, in its canonical form.
    #[must_use]
    pub fn matches(&self, method: &Method, path: &str) -> bool {
        self.method == *method
            && match self.path.strip_suffix('*') {
                Some(prefix) if prefix.ends_with('/') => path.starts_with(prefix),
                _ => self.path == path,
            }
    }
}

/// Every method that the gateway takes.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let text = String::deserialize(de)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a method and a path such as `GET /api/v1beta/workloads/*`"
            ))
        })
    }
}

impl Serialize for Allow {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        ser.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entry: &str, request: (&str, &str), expect: Option<bool>) {
        let method = request.0.parse().unwrap();
        let got = Allow::parse(entry).map(|allow| allow.matches(&method, request.1));
        assert_eq!(got, expect, "{entry} against {request:?}");
    }

    #[test]
    fn names_one_path_or_everything_below_one() {
        check("GET /a", ("GET", "/a"), Some(true));
        check("GET /a", ("GET", "/a/b"), Some(false));
        check("GET /a", ("POST", "/a"), Some(false));
        check("GET /a/*", ("GET", "/a/b/c"), Some(true));
        check("GET /a/*", ("GET", "/ab"), Some(false));
        check("GET /a/*", ("GET", "/a"), Some(false));
    }

    #[test]
    fn refuses_what_is_no_method_and_path() {
        check("/a", ("GET", "/a"), None);
        check("GET a", ("GET", "/a"), None);
        check("FETCH /a", ("GET", "/a"), None);
        check("GET /a*", ("GET", "/a"), None);
        check("GET /*/b", ("GET", "/a"), None);
        check("GET /a /b", ("GET", "/a"), None);
    }
}
