//! The page that a person sees when a sign-in cannot go on.
//!
//! Self-contained, without a script, and with one style that the policy knows by its hash: whatever
//! of a request it shows is text.

use std::fmt::Write;

use http::{HeaderValue, StatusCode, header};

use crate::{Response, reply};

/// The most characters of a request that are shown.
const MAX_SHOWN: usize = 300;

/// How the pages of the gateway look. Policies name it by [`STYLE_HASH`].
pub const STYLE: &str = include_str!("page.css");

/// The source of [`STYLE`] in a content security policy.
pub const STYLE_HASH: &str = "'sha256-4IwlyhDegpUus1PNGWuKWMBSodcAhoPIBGfUZ8Ptd8c='";

/// A page: what is wrong, and what the reader can do.
#[derive(Debug)]
pub struct Page<'a> {
    /// What is wrong, a sentence.
    pub what: &'a str,
    /// The part of the request that is meant, if it helps to see it.
    pub shown: Option<&'a str>,
    /// What to do about it, a sentence.
    pub remedy: &'a str,
}

impl Page<'_> {
    /// Answers 400 with the page.
    #[must_use]
    pub fn bad_request(&self) -> Response {
        let mut html = String::from(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>Sign-in cannot go on</title>\n<style>",
        );
        html.push_str(STYLE);
        html.push_str("</style>\n</head>\n<body>\n<main>\n<h1>Sign-in cannot go on</h1>\n<p>");
        escape(self.what, &mut html);
        html.push_str("</p>\n");
        if let Some(shown) = self.shown {
            let mut letters = shown.chars();
            let beginning: String = letters.by_ref().take(MAX_SHOWN).collect();
            html.push_str("<p><code>");
            escape(&beginning, &mut html);
            html.push_str(if letters.next().is_some() {
                "…</code></p>\n"
            } else {
                "</code></p>\n"
            });
        }
        html.push_str("<p>");
        escape(self.remedy, &mut html);
        html.push_str("</p>\n</main>\n</body>\n</html>\n");

        let mut response = reply::body(StatusCode::BAD_REQUEST, reply::HTML, reply::NO_STORE, html);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy());
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        response
    }
}

/// Nothing but the style, whatever finds its way into the page.
fn policy() -> HeaderValue {
    let policy = format!(
        "default-src 'none'; style-src {STYLE_HASH}; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    // Made of constants, which a header field can hold.
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

/// Writes text so that HTML shows it and does nothing else with it.
pub fn escape(text: &str, html: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // Also what would turn the reading direction of an address around.
            letter
                if letter.is_control()
                    || matches!(letter, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                // Writing to a string cannot fail.
                let _ = write!(html, "\\u{:04x}", u32::from(letter));
            }
            letter => html.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_only_ever_text() {
        let response = Page {
            what: "a & b",
            shown: Some("\"><script>alert('1')</script>\u{202e}\u{7}"),
            remedy: "do",
        }
        .bad_request();
        let html = std::str::from_utf8(response.body()).unwrap();
        assert!(html.contains("<p>a &amp; b</p>"));
        assert!(html.contains(
            "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;\\u202e\\u0007</code>"
        ));
        assert!(
            response.headers()["content-security-policy"]
                .to_str()
                .unwrap()
                .starts_with("default-src 'none'")
        );
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = "a".repeat(1000);
        let page = Page {
            what: "",
            shown: Some(&shown),
            remedy: "",
        };
        assert!(page.bad_request().body().len() < STYLE.len() + 1200);
    }

    #[test]
    fn the_policy_knows_the_style() {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
        let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
        assert_eq!(STYLE_HASH, format!("'sha256-{hash}'"));
    }
}
