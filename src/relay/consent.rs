//! The page that asks a person whether a client may act for her.
//!
//! It says who asks and how far that is known, where the code goes, and what may be done with it.
//! Self-contained: no script, one style that the policy knows by its hash, nothing loaded. Whatever
//! comes from a client is text.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use mcp_gateway_filters::{Response, STYLE, STYLE_HASH, escape, is_loopback};
use url::{Host, Url};

use super::{Client, Source};

/// The most scopes that are listed.
const MAX_SCOPES: usize = 20;

/// What the page shows.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) client: &'a Client,
    pub(super) redirect_uri: &'a str,
    /// Divided by spaces.
    pub(super) scopes: &'a str,
    /// The URL of this server.
    pub(super) server: &'a str,
    /// The URL at which the person signs in next.
    pub(super) provider: &'a str,
    /// Where the answer is posted.
    pub(super) action: &'a str,
    /// What is posted along.
    pub(super) request: &'a str,
    /// Whether the answer may be remembered.
    pub(super) may_remember: bool,
}

/// A shield, drawn in the colour of the text around it.
const SHIELD: &str = "<svg viewBox=\"0 0 24 24\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\" \
                      stroke-linejoin=\"round\" stroke-linecap=\"round\" aria-hidden=\"true\"><path d=\"M12 3l7 \
                      3v5c0 4.6-2.9 8.3-7 10-4.1-1.7-7-5.4-7-10V6z\"/><path d=\"M9 12l2 2 4-4\"/></svg>";

impl Question<'_> {
    /// Writes the page.
    pub(super) fn page(&self) -> Response {
        let mut html = String::with_capacity(8 * 1024 + self.request.len());
        html.push_str(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<title>Allow access?</title>\n<style>",
        );
        html.push_str(STYLE);
        html.push_str("</style>\n</head>\n<body>\n<main>\n<p class=\"server\">");
        html.push_str(SHIELD);
        html.push_str("<span>");
        escape(authority(self.server), &mut html);
        html.push_str("</span></p>\n");
        self.who(&mut html);
        self.goal(&mut html);
        self.rights(&mut html);
        html.push_str(
            "<p class=\"note\">Continue only if you started this yourself just now. If a link in a \
             message or on a web page brought you here, cancel.</p>\n",
        );
        self.form(&mut html);
        html.push_str("<p class=\"soft\">You sign in at ");
        escape(authority(self.provider), &mut html);
        html.push_str(
            " next. This page never asks for a password.</p>\n</main>\n</body>\n</html>\n",
        );
        self.answer(html)
    }

    fn who(&self, html: &mut String) {
        let name = self.client.name.as_deref();
        html.push_str("<h1>Allow ");
        escape(name.unwrap_or("an application"), html);
        html.push_str(" to use this server as you?</h1>\n<p class=\"soft\">");
        match (&self.client.source, name) {
            (Source::Registered, Some(_)) => html.push_str(
                "That is what the application calls itself. Nobody has checked the name.",
            ),
            (Source::Registered, None) => {
                html.push_str("The application did not say what it is called.");
            }
            (Source::Published(host), _) => {
                html.push_str("The name is published by <strong>");
                escape(host, html);
                html.push_str("</strong>.");
            }
            (Source::Configured, _) => {
                html.push_str("It uses the client id of this server, so its name is not known.");
            }
        }
        html.push_str("</p>\n");
    }

    fn goal(&self, html: &mut String) {
        html.push_str("<h2>Your sign-in is handed to</h2>\n<div class=\"goal\">\n<p><strong>");
        let parsed = Url::parse(self.redirect_uri).ok();
        let scheme = self.redirect_uri.split(':').next().unwrap_or_default();
        let what = if is_loopback(self.redirect_uri) {
            escape("This computer", html);
            "an application that waits for the answer at this address".to_owned()
        } else if scheme == "https" {
            escape(authority(self.redirect_uri), html);
            "a website".to_owned()
        } else {
            escape("An application on this device", html);
            format!("the one that opens {scheme}: links")
        };
        html.push_str("</strong></p>\n<p class=\"soft\">");
        escape(&what, html);
        html.push_str("</p>\n<p><code>");
        // A query may be long and says nothing to a person.
        let shown = parsed
            .as_ref()
            .and_then(|_| self.redirect_uri.split('?').next())
            .unwrap_or(self.redirect_uri);
        escape(shown, html);
        html.push_str("</code></p>\n</div>\n");
    }

    fn rights(&self, html: &mut String) {
        html.push_str("<h2>It will be able to</h2>\n<ul>\n<li>use the tools of this server in your name</li>\n");
        let mut known: Vec<&str> = vec![];
        for scope in self.scopes.split_ascii_whitespace() {
            if known.contains(&scope) {
                continue;
            }
            if known.len() == MAX_SCOPES {
                html.push_str("<li>and more</li>\n");
                break;
            }
            known.push(scope);
            html.push_str("<li>");
            if let Some(words) = in_words(scope) {
                html.push_str(words);
            } else {
                html.push_str("use the permission <code>");
                // Of an API's scope, what a person may have heard of.
                escape(scope.rsplit('/').next().unwrap_or(scope), html);
                html.push_str("</code>");
            }
            html.push_str("</li>\n");
        }
        html.push_str("</ul>\n");
    }

    fn form(&self, html: &mut String) {
        html.push_str("<form method=\"post\" action=\"");
        escape(self.action, html);
        html.push_str("\">\n<input type=\"hidden\" name=\"request\" value=\"");
        escape(self.request, html);
        html.push_str("\">\n");
        if self.may_remember {
            html.push_str(
                "<label class=\"check\"><input type=\"checkbox\" name=\"remember\" value=\"yes\"> \
                 <span>Do not ask again for this application in this browser for 30 days</span></label>\n",
            );
        }
        html.push_str(
            "<div class=\"choice\">\n\
             <button type=\"submit\" name=\"decision\" value=\"approve\">Continue</button>\n\
             <button type=\"submit\" name=\"decision\" value=\"deny\" class=\"other\">Cancel</button>\n\
             </div>\n</form>\n",
        );
    }

    fn answer(&self, html: String) -> Response {
        let policy = format!(
            "default-src 'none'; style-src {STYLE_HASH}; base-uri 'none'; form-action {}; \
             frame-ancestors 'none'",
            self.way()
        );
        // Its parts are constants, hosts and schemes, which a header field can hold.
        let policy = HeaderValue::try_from(policy).unwrap_or_else(|_| {
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")
        });
        let mut response = Response::new(Bytes::from(html));
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            // Not `no-referrer`: browsers then hide the origin of the answer, too.
            (header::REFERRER_POLICY, "same-origin"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    }

    /// Where the answer may lead. Browsers hold every redirect behind a form against the policy of
    /// its page: the provider, whoever it leaves the sign-in to, and the client at the end.
    fn way(&self) -> String {
        let mut way = "'self' https:".to_owned();
        for uri in [self.provider, self.redirect_uri] {
            let Ok(url) = Url::parse(uri) else { continue };
            // Writing to a string cannot fail.
            let _ = match (url.scheme(), url.host()) {
                ("https", _) => Ok(()),
                // A policy cannot name an IPv6 address.
                ("http", Some(Host::Ipv6(_)) | None) => write!(way, " http:"),
                ("http", Some(_)) => write!(way, " {}", url.origin().ascii_serialization()),
                (scheme, _) => write!(way, " {scheme}:"),
            };
        }
        way
    }
}

/// Returns host and port of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// Says what a scope lets an application do.
fn in_words(scope: &str) -> Option<&'static str> {
    Some(match scope {
        "openid" => "know who you are",
        "profile" => "see your name",
        "email" => "see your e-mail address",
        "offline_access" => "stay signed in until you or your company end it",
        "User.Read" => "read your profile at Microsoft",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: Option<&str>, source: Source) -> Client {
        Client {
            id: "c".to_owned(),
            name: name.map(str::to_owned),
            redirect_uris: vec![],
            source,
        }
    }

    fn page(client: &Client, redirect_uri: &str) -> Response {
        Question {
            client,
            redirect_uri,
            scopes: "openid offline_access api://8f3c/tools.execute openid",
            server: "https://mcp.test",
            provider: "https://login.test/authorize",
            action: "/oauth2/consent",
            request: "sealed",
            may_remember: redirect_uri.starts_with("https://"),
        }
        .page()
    }

    fn check(source: Source, name: Option<&str>, redirect_uri: &str, says: &[&str]) {
        let response = page(&client(name, source), redirect_uri);
        let html = std::str::from_utf8(response.body()).unwrap();
        for text in says {
            assert!(html.contains(text), "`{text}` is missing: {html}");
        }
    }

    #[test]
    fn the_page_says_who_asks_and_where_the_code_goes() {
        check(
            Source::Registered,
            Some("Claude Code"),
            "http://localhost:3118/callback?x=1",
            &[
                "Allow Claude Code to use this server as you?",
                "Nobody has checked the name",
                "This computer",
                "<code>http://localhost:3118/callback</code>",
                "know who you are",
                "stay signed in",
                "<code>tools.execute</code>",
                "You sign in at login.test next",
                "<span>mcp.test</span>",
            ],
        );
        check(
            Source::Configured,
            None,
            "https://vscode.dev/redirect",
            &[
                "Allow an application to",
                "<strong>vscode.dev</strong>",
                "name=\"remember\"",
            ],
        );
        check(
            Source::Published("claude.ai".to_owned()),
            Some("Claude"),
            "cursor://anysphere/cb",
            &[
                "published by <strong>claude.ai</strong>",
                "opens cursor: links",
            ],
        );
    }

    #[test]
    fn consent_for_this_computer_is_never_remembered() {
        let response = page(&client(None, Source::Configured), "http://localhost:1/");
        assert!(
            !std::str::from_utf8(response.body())
                .unwrap()
                .contains("remember")
        );
    }

    #[test]
    fn what_a_client_says_is_only_ever_text() {
        let response = page(
            &client(
                Some("<script>alert(1)</script>\u{202e}"),
                Source::Registered,
            ),
            "https://a.test/\"><img src=x>",
        );
        let html = std::str::from_utf8(response.body()).unwrap();
        assert!(
            !html.contains("<script") && !html.contains("<img"),
            "{html}"
        );
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;\\u202e"));
    }

    #[test]
    fn nobody_frames_stores_or_scripts_the_page() {
        let response = page(&client(None, Source::Configured), "https://a.test/");
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(policy.ends_with("; frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe"));
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("referrer-policy"), "same-origin");
    }

    #[test]
    fn the_policy_lets_the_answer_lead_to_the_client() {
        let form_action = |redirect_uri: &str| {
            let response = page(&client(None, Source::Configured), redirect_uri);
            let policy = response.headers()["content-security-policy"]
                .to_str()
                .unwrap();
            let way = policy.split("form-action ").nth(1).unwrap();
            way.split(';').next().unwrap().to_owned()
        };
        assert_eq!(form_action("https://a.test/cb"), "'self' https:");
        assert_eq!(
            form_action("http://localhost:3118/cb"),
            "'self' https: http://localhost:3118"
        );
        assert_eq!(form_action("http://[::1]:3118/cb"), "'self' https: http:");
        assert_eq!(form_action("cursor://x/cb"), "'self' https: cursor:");
    }
}
