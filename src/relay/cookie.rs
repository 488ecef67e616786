//! The two cookies of a sign-in, and how they are read.
//!
//! Both have the prefix `__Host-`, so that no other host and no plain connection can plant one, and
//! `SameSite=Lax`, since the callback is reached by a link from the provider.

use http::{HeaderMap, HeaderValue, header};

/// Tells one browser from another for as long as a sign-in takes.
const BROWSER: &str = "__Host-mcp-browser";
/// How long a browser is told from others, in seconds: for a question and a sign-in of half an hour.
const BROWSER_LIFETIME: u64 = 60 * 60;
/// Remembers consents.
pub(super) const APPROVALS: &str = "__Host-mcp-approvals";

/// Returns the first cookie of a name.
pub(super) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim_ascii().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}

/// Writes a cookie that no script reads; `None` when the value cannot stand in one.
pub(super) fn set(name: &str, value: &str, seconds: u64) -> Option<HeaderValue> {
    let line = format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    HeaderValue::try_from(line).ok()
}

/// Says whether a value can be one that [`super::unguessable`] made.
fn is_unguessable(value: &str) -> bool {
    value.len() == 43
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Returns what tells this browser from others.
pub(super) fn browser(headers: &HeaderMap) -> Option<&str> {
    find(headers, BROWSER).filter(|value| is_unguessable(value))
}

/// Writes what tells this browser from others.
pub(super) fn set_browser(browser: &str) -> Option<HeaderValue> {
    set(BROWSER, browser, BROWSER_LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expect: Option<&str>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
        }
        assert_eq!(find(&headers, "a"), expect, "{lines:?}");
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        check(&["a=1"], Some("1"));
        check(&["b=2; a=1;c"], Some("1"));
        check(&["b=2", "a=x=y"], Some("x=y"));
        check(&["a=1; a=2"], Some("1"));
        check(&["aa=1; A=2"], None);
        check(&["a"], None);
        check(&[], None);
    }

    #[test]
    fn a_cookie_is_for_this_host_and_no_script() {
        assert_eq!(
            set(BROWSER, "x", 60).unwrap(),
            "__Host-mcp-browser=x; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax"
        );
        assert_eq!(set(BROWSER, "a\nb", 60), None);
    }
}
