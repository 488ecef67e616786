//! From a path to the route that takes it: exact paths first, then the longest prefix.

mod allow;

use std::collections::HashMap;

pub use allow::{Allow, METHODS};

/// Finds values by path.
///
/// Matching is on the bytes that are forwarded: nothing is decoded, folded or merged here, the
/// first layer has refused every path that could be read in two ways.
#[derive(Debug)]
pub struct Router<T> {
    exact: HashMap<String, T>,
    /// Longest first; each ends in `/`.
    prefixes: Vec<(String, T)>,
}

impl<T> Router<T> {
    /// Builds from paths as configured: exact, or a prefix where they end in `/*`.
    pub fn new(routes: impl IntoIterator<Item = (String, T)>) -> Self {
        let mut exact = HashMap::new();
        let mut prefixes = vec![];
        for (path, value) in routes {
            match path.strip_suffix('*') {
                Some(prefix) if prefix.ends_with('/') => prefixes.push((prefix.to_owned(), value)),
                _ => drop(exact.insert(path, value)),
            }
        }
        prefixes.sort_by_key(|(prefix, _): &(String, T)| std::cmp::Reverse(prefix.len()));
        Self { exact, prefixes }
    }

    /// Finds the route of a path, without its query.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&T> {
        self.exact.get(path).or_else(|| {
            self.prefixes
                .iter()
                .find(|(prefix, _)| path.starts_with(prefix.as_str()))
                .map(|(_, value)| value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expect: Option<&str>) {
        let router = Router::new(
            ["/mcp", "/mcp/a", "/api/*", "/api/v1/*", "/api/v1/x"].map(|p| (p.to_owned(), p)),
        );
        assert_eq!(router.find(path).copied(), expect, "{path}");
    }

    #[test]
    fn prefers_exact_then_longest() {
        check("/mcp", Some("/mcp"));
        check("/mcp/a", Some("/mcp/a"));
        check("/mcp/", None);
        check("/api/x", Some("/api/*"));
        check("/api", None);
        check("/api/v1/y", Some("/api/v1/*"));
        check("/api/v1/x", Some("/api/v1/x"));
        check("/", None);
    }
}
