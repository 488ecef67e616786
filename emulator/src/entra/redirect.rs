//! Redirect URIs: which are registered, and how an answer is put on one.

use axum::body::Body;
use http::{Response, StatusCode};
use url::{Host, Url};

use super::directory::{App, Platform};
use super::page;
use crate::reply;

/// On which loopback hosts the port of a redirect URI is ignored. Public documents say so for
/// `localhost` and are of two minds about `127.0.0.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopbackPorts {
    /// Ignored for `http://localhost`.
    pub localhost: bool,
    /// Ignored for `http://127.0.0.1`.
    pub ipv4: bool,
}

impl Default for LoopbackPorts {
    fn default() -> Self {
        Self {
            localhost: true,
            ipv4: true,
        }
    }
}

/// How the answer travels on the redirect URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Query,
    Fragment,
    FormPost,
}

impl Mode {
    pub(super) fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("query") => Some(Self::Query),
            Some("fragment") => Some(Self::Fragment),
            Some("form_post") => Some(Self::FormPost),
            Some(_) => None,
        }
    }
}

/// Finds the registration that a redirect URI matches.
pub(super) fn find(app: &App, requested: &str, ports: LoopbackPorts) -> Option<Platform> {
    let exact = app
        .redirects
        .iter()
        .find(|(_, registered)| registered == requested);
    let found = exact.or_else(|| {
        app.redirects
            .iter()
            .find(|(_, registered)| equal_but_for_port(registered, requested, ports))
    });
    found.map(|(platform, _)| *platform)
}

/// Whether two loopback URIs differ in their port at most. Paths are compared as they are.
fn equal_but_for_port(registered: &str, requested: &str, ports: LoopbackPorts) -> bool {
    let (Ok(registered), Ok(requested)) = (Url::parse(registered), Url::parse(requested)) else {
        return false;
    };
    let ignored = match requested.host() {
        Some(Host::Domain("localhost")) => ports.localhost,
        Some(Host::Ipv4(address)) => ports.ipv4 && address.is_loopback(),
        _ => false,
    };
    ignored
        && requested.scheme() == "http"
        && registered.scheme() == "http"
        && registered.host() == requested.host()
        && registered.path() == requested.path()
        && registered.query() == requested.query()
        && requested.fragment().is_none()
        && requested.username().is_empty()
        && requested.password().is_none()
}

/// Answers on the redirect URI.
pub(super) fn answer(uri: &str, mode: Mode, pairs: &[(&str, &str)]) -> Response<Body> {
    if mode == Mode::FormPost {
        return page::form_post(uri, pairs);
    }
    let mut location = with_path(uri);
    location.push(match mode {
        Mode::Fragment => '#',
        _ if location.contains('?') => '&',
        _ => '?',
    });
    let encoded: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    location.push_str(&encoded.join("&"));
    let mut response = reply::empty(StatusCode::FOUND);
    reply::set(&mut response, "location", &location);
    response
}

/// Adds the slash that Entra adds to a URI without a path.
fn with_path(uri: &str) -> String {
    match uri.split_once("://") {
        Some((_, rest)) if !rest.contains(['/', '?', '#']) => format!("{uri}/"),
        _ => uri.to_owned(),
    }
}

/// Percent-encodes with lower-case digits and `+` for a space, as .NET does.
fn encode(value: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'!'
            | b'*'
            | b'('
            | b')' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            _ => {
                // Writing into a string does not fail.
                let _ = write!(encoded, "%{byte:02x}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(requested: &str, expected: Option<Platform>) {
        let app = App::new("id", "name")
            .redirect(Platform::Native, "http://localhost/callback")
            .redirect(Platform::Native, "http://127.0.0.1/callback")
            .redirect(Platform::Web, "https://app.example/callback");
        let found = find(&app, requested, LoopbackPorts::default());
        assert_eq!(found, expected, "{requested}");
    }

    #[test]
    fn a_loopback_redirect_may_use_any_port() {
        check("http://localhost:3118/callback", Some(Platform::Native));
        check("http://127.0.0.1:19876/callback", Some(Platform::Native));
    }

    #[test]
    fn a_path_is_compared_with_its_case() {
        check("http://localhost:3118/Callback", None);
        check("http://localhost:3118/callback/", None);
        check("http://localhost:3118/", None);
    }

    #[test]
    fn only_loopback_is_free_of_its_port() {
        check("https://app.example/callback", Some(Platform::Web));
        check("https://app.example:8443/callback", None);
        check("http://localhost.example:1/callback", None);
        check("http://user@localhost:1/callback", None);
        check("https://localhost:1/callback", None);
    }

    #[test]
    fn ipv4_loopback_can_be_held_to_its_port() {
        let app = App::new("id", "name").redirect(Platform::Native, "http://127.0.0.1/callback");
        let strict = LoopbackPorts {
            ipv4: false,
            ..LoopbackPorts::default()
        };
        assert_eq!(find(&app, "http://127.0.0.1:1/callback", strict), None);
    }

    #[test]
    fn an_answer_keeps_what_the_uri_had() {
        let location = |uri, mode| {
            let response = answer(uri, mode, &[("code", "a+b"), ("state", "x y/")]);
            response.headers()["location"].to_str().unwrap().to_owned()
        };
        assert_eq!(
            location("http://localhost:1", Mode::Query),
            "http://localhost:1/?code=a%2bb&state=x+y%2f"
        );
        assert_eq!(
            location("http://localhost:1/cb?x=1", Mode::Query),
            "http://localhost:1/cb?x=1&code=a%2bb&state=x+y%2f"
        );
        assert_eq!(
            location("http://localhost:1/cb", Mode::Fragment),
            "http://localhost:1/cb#code=a%2bb&state=x+y%2f"
        );
    }
}
