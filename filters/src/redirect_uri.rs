//! Where an authorization server may send a browser back to.
//!
//! One policy for registration and authorization: loopback http on any port (RFC 8252 §7.3, the
//! port is chosen when the client starts), and everything else only by exact comparison. Nothing
//! is normalized: a URI that needs it is not on the list.
//!
//! The comparison is deliberately done on the text and not on a parsed URL: parsers disagree about
//! `\`, `@` and numeric hosts, and every disagreement is an open redirect.

use std::{collections::BTreeSet, net::Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Problem;

/// The longest redirect URI that is looked at, in bytes.
pub(crate) const MAX_LENGTH: usize = 2048;

/// Clients whose redirect URIs are known and not on loopback.
///
/// Claude Code, OpenCode, Codex, mcp-remote, MCP Inspector and most SDKs need none: they listen on
/// loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// claude.ai and Claude Desktop.
    ClaudeAi,
    /// VS Code and VS Code Insiders, whose registrations name both.
    Vscode,
    /// Cursor and its cloud agents.
    Cursor,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 3] = [Self::ClaudeAi, Self::Vscode, Self::Cursor];

    /// Returns the redirect URIs of the client.
    #[must_use]
    pub fn uris(self) -> &'static [&'static str] {
        match self {
            Self::ClaudeAi => &[
                "https://claude.ai/api/mcp/auth_callback",
                "https://claude.com/api/mcp/auth_callback",
            ],
            Self::Vscode => &[
                "https://vscode.dev/redirect",
                "https://insiders.vscode.dev/redirect",
            ],
            Self::Cursor => &[
                "cursor://anysphere.cursor-mcp/oauth/callback",
                "https://www.cursor.com/agents/mcp/oauth/callback",
            ],
        }
    }
}

/// Which redirect URIs clients may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedirectUris {
    /// Well-known clients whose redirect URIs are allowed.
    pub presets: Vec<Preset>,
    /// Further redirect URIs, compared byte for byte: https, or an application's own scheme.
    pub allow: Vec<String>,
    /// Whether http on `localhost`, `127.0.0.0/8` and `[::1]` is allowed, on any port and path.
    pub loopback: bool,
}

impl Default for RedirectUris {
    fn default() -> Self {
        Self {
            presets: Preset::ALL.to_vec(),
            allow: Vec::new(),
            loopback: true,
        }
    }
}

impl RedirectUris {
    /// Turns the settings into a policy.
    pub(crate) fn build(self, at: &str, problems: &mut Vec<Problem>) -> RedirectPolicy {
        for (index, uri) in self.allow.iter().enumerate() {
            if let Err(problem) = check_allowed(uri) {
                problems.push(Problem {
                    at: format!("{at}.allow[{index}]"),
                    ..problem
                });
            }
        }
        if self.presets.is_empty() && self.allow.is_empty() && !self.loopback {
            problems.push(
                Problem::new(at, "no redirect URI is allowed, so no client can sign in")
                    .help("allow loopback, a preset, or name redirect URIs in `allow`"),
            );
        }
        let presets = self.presets.iter().flat_map(|preset| preset.uris());
        RedirectPolicy {
            exact: presets
                .map(|uri| (*uri).to_owned())
                .chain(self.allow)
                .collect(),
            loopback: self.loopback,
        }
    }
}

/// Schemes that run or show what the URI itself says.
const DANGEROUS: [&str; 7] = [
    "javascript",
    "data",
    "vbscript",
    "file",
    "blob",
    "about",
    "view-source",
];

fn check_allowed(uri: &str) -> Result<(), Problem> {
    let shown = uri.escape_debug();
    let Ok(parsed) = Url::parse(uri) else {
        return Err(Problem::new(
            "",
            format!("expected an absolute URI, found `{shown}`"),
        ));
    };
    if DANGEROUS.contains(&parsed.scheme()) {
        return Err(Problem::new(
            "",
            format!("the scheme of `{shown}` is not one to send an authorization code to"),
        ));
    }
    if parsed.scheme() == "http" && !is_loopback(uri) {
        return Err(Problem::new(
            "",
            format!("`{shown}` would carry an authorization code in the clear"),
        )
        .help("use https"));
    }
    match fault(uri) {
        None => Ok(()),
        Some(fault) => Err(Problem::new("", format!("`{shown}` {fault}"))),
    }
}

/// A compiled [`RedirectUris`].
#[derive(Clone, Debug)]
pub(crate) struct RedirectPolicy {
    exact: BTreeSet<String>,
    loopback: bool,
}

/// Why a redirect URI is refused; reads as the end of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedirectFault {
    #[error("is longer than 2048 bytes")]
    TooLong,
    #[error("holds a fragment, which RFC 6749 section 3.1.2 forbids")]
    Fragment,
    #[error("holds a space, a backslash, a control character or one outside ASCII")]
    Character,
    #[error("holds a user name")]
    UserInfo,
    #[error("is neither on loopback (http://localhost or http://127.0.0.1) nor on the allow-list")]
    NotAllowed,
}

impl RedirectPolicy {
    /// Says whether a browser may be sent to `uri`.
    pub(crate) fn check(&self, uri: &str) -> Result<(), RedirectFault> {
        if let Some(fault) = fault(uri) {
            return Err(fault);
        }
        if self.exact.contains(uri) || (self.loopback && is_loopback(uri)) {
            return Ok(());
        }
        Err(RedirectFault::NotAllowed)
    }
}

/// Finds what is wrong with a redirect URI whoever uses it.
fn fault(uri: &str) -> Option<RedirectFault> {
    if uri.len() > MAX_LENGTH {
        return Some(RedirectFault::TooLong);
    }
    if !uri
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    {
        return Some(RedirectFault::Character);
    }
    if uri.contains('#') {
        return Some(RedirectFault::Fragment);
    }
    if uri.contains('@') {
        let authority = uri.split_once("://").map(|(_, rest)| authority(rest));
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Some(RedirectFault::UserInfo);
        }
    }
    None
}

fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Says whether `uri` is plain http to this very machine, written in one of the three usual ways.
#[must_use]
pub fn is_loopback(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("http://") else {
        return false;
    };
    let authority = authority(rest);
    let (host, port) = if let Some(after) = authority.strip_prefix("[::1]") {
        (
            "localhost",
            after.strip_prefix(':').or(after.is_empty().then_some("80")),
        )
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("80")),
        }
    };
    let port = port.is_some_and(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    port && (host == "localhost" || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Host;

    use super::*;

    fn policy() -> RedirectPolicy {
        RedirectUris {
            allow: vec!["https://app.test/cb".into(), "com.test.app:/cb".into()],
            ..RedirectUris::default()
        }
        .build("redirect_uris", &mut Vec::new())
    }

    fn check(uri: &str, expected: Result<(), RedirectFault>) {
        assert_eq!(policy().check(uri), expected, "{uri}");
    }

    #[test]
    fn the_redirect_uris_of_known_clients_are_allowed() {
        for uri in [
            "http://localhost:3118/callback",
            "http://127.0.0.1:19876/mcp/oauth/callback",
            "http://127.0.0.1:33418/",
            "http://127.0.0.1/",
            "http://localhost:3334/oauth/callback",
            "http://localhost:6274/oauth/callback/debug",
            "http://[::1]:7777/cb",
            "http://[::1]",
            "http://127.8.9.1?x=1",
            "https://vscode.dev/redirect",
            "https://insiders.vscode.dev/redirect",
            "https://claude.ai/api/mcp/auth_callback",
            "https://claude.com/api/mcp/auth_callback",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "https://app.test/cb",
            "com.test.app:/cb",
        ] {
            check(uri, Ok(()));
        }
    }

    #[test]
    fn whatever_only_looks_allowed_is_refused() {
        for uri in [
            "http://localhost.evil.test/cb",
            "http://127.0.0.1.evil.test/cb",
            "http://0x7f.1/cb",
            "http://127.1/cb",
            "http://localhost./cb",
            "http://LOCALHOST/cb",
            "HTTP://localhost/cb",
            "http:/localhost/cb",
            "http:localhost/cb",
            "http://localhost:/cb",
            "http://localhost:0/cb",
            "http://localhost:65536/cb",
            "http://localhost:+80/cb",
            "http://[::1]x/cb",
            "http://[::2]/cb",
            "http://10.0.0.1/cb",
            "https://localhost/cb",
            "https://app.test/cb/",
            "https://app.test/cb?x=1",
            "https://APP.test/cb",
            "com.test.app:/cb2",
            "javascript:alert(1)",
            "",
        ] {
            check(uri, Err(RedirectFault::NotAllowed));
        }
        check("http://localhost@evil.test/", Err(RedirectFault::UserInfo));
        check(
            "http://evil.test:80@localhost/",
            Err(RedirectFault::UserInfo),
        );
        check(
            "http://localhost\\@evil.test/",
            Err(RedirectFault::Character),
        );
        check("http://localhost/ cb", Err(RedirectFault::Character));
        check("http://localhost/\r\nx", Err(RedirectFault::Character));
        check("http://localhost/cb#x", Err(RedirectFault::Fragment));
        check(
            &format!("http://localhost/{}", "a".repeat(MAX_LENGTH)),
            Err(RedirectFault::TooLong),
        );
    }

    #[test]
    fn loopback_can_be_switched_off() {
        let policy = RedirectUris {
            loopback: false,
            ..RedirectUris::default()
        }
        .build("", &mut Vec::new());
        assert!(policy.check("http://localhost/cb").is_err());
        assert!(policy.check("https://vscode.dev/redirect").is_ok());
    }

    #[test]
    fn a_list_that_gives_codes_away_is_a_problem() {
        let mut problems = Vec::new();
        RedirectUris {
            presets: vec![],
            allow: vec![
                "/cb".into(),
                "javascript:alert(1)".into(),
                "http://app.test/cb".into(),
                "https://app.test/#x".into(),
                "https://u@app.test/".into(),
                "http://localhost:8787/cb".into(),
            ],
            loopback: true,
        }
        .build("redirect_uris", &mut problems);
        let at: Vec<&str> = problems.iter().map(|problem| problem.at.as_str()).collect();
        assert_eq!(at.len(), 5);
        assert_eq!(at.first(), Some(&"redirect_uris.allow[0]"));
    }

    proptest! {
        /// A browser's reading of an accepted loopback URI goes to this machine, too.
        #[test]
        fn a_url_parser_agrees_about_loopback(
            uri in r"http://(localhost|127\.0\.0\.1|\[::1\])?[a-z0-9@:\\/?#.\[\]%]{0,24}"
        ) {
            if policy().check(&uri).is_ok() {
                let parsed = Url::parse(&uri).unwrap();
                let here = match parsed.host().unwrap() {
                    Host::Domain(name) => name == "localhost",
                    Host::Ipv4(ip) => ip.is_loopback(),
                    Host::Ipv6(ip) => ip.is_loopback(),
                };
                prop_assert!(here, "{}", uri);
            }
        }
    }
}
