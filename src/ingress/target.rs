//! One path, one spelling.

use http::StatusCode;

use super::{Limits, Refused};

/// Refuses a request target that is not the only way to write its path.
///
/// Routing looks at the same bytes that are forwarded, so whatever an upstream might decode or
/// fold into another path is refused: escapes of `/`, `\`, `.`, `%` and NUL, empty and dot
/// segments, `;` parameters, fragments.
///
/// # Errors
/// 414 when the target is too long, else 400.
pub fn check_target(target: &[u8], limits: &Limits) -> Result<(), Refused> {
    if target.len() > limits.target_size.0 {
        return Err(Refused::new(
            StatusCode::URI_TOO_LONG,
            "target_too_long",
            "the request target is too long",
        ));
    }
    if target.first() != Some(&b'/') {
        return Err(Refused::bad(
            "target_form",
            "the request target must be a path that starts with a slash",
        ));
    }
    // To the end, whatever is found before: this way the compiler looks at many bytes at once.
    let visible = |byte: u8| matches!(byte, 0x21 | 0x22 | 0x24..=0x7e);
    if !target.iter().fold(true, |all, byte| all & visible(*byte)) {
        return Err(Refused::bad(
            "target_bytes",
            "the request target holds bytes that a URI cannot hold",
        ));
    }
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    if is_canonical(path) {
        Ok(())
    } else {
        Err(Refused::bad(
            "path_not_canonical",
            "the path can be read in more than one way: write it without escaped slashes, dots or percent signs, and without empty or dot segments",
        ))
    }
}

fn is_canonical(path: &[u8]) -> bool {
    let plain = !path.iter().any(|b| matches!(b, b'\\' | b';'));
    plain
        && has_canonical_escapes(path)
        && !path.windows(2).any(|pair| pair == b"//")
        && !path
            .split(|b| *b == b'/')
            .any(|segment| matches!(segment, b"." | b".."))
}

fn has_canonical_escapes(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        let Some((digits, tail)) = rest.get(at + 1..).and_then(|r| r.split_at_checked(2)) else {
            return false;
        };
        let decoded = std::str::from_utf8(digits)
            .ok()
            .filter(|_| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match decoded {
            None | Some(0..=0x1f | 0x7f | b'/' | b'\\' | b'.' | b'%' | b';' | b'#' | b'?') => {
                return false;
            }
            Some(_) => rest = tail,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, expect: Option<&str>) {
        let refused = check_target(target.as_bytes(), &Limits::default())
            .err()
            .map(|r| r.reason);
        assert_eq!(refused, expect, "{target}");
    }

    #[test]
    fn takes_plain_paths_and_any_query() {
        check("/", None);
        check("/mcp/a-b_c~d.e", None);
        check("/.well-known/oauth-protected-resource/mcp", None);
        check("/a%20b", None);
        check(
            "/authorize?redirect_uri=http%3A%2F%2Flocalhost%2F..%2f&x=//;%25",
            None,
        );
    }

    #[test]
    fn refuses_second_spellings() {
        for path in [
            "/mcp%2fx",
            "/mcp%2F",
            "/mcp%5cx",
            "/a%00",
            "/%2e%2e/mcp",
            "/a/../mcp",
            "/./mcp",
            "/mcp/.",
            "//mcp",
            "/a//b",
            "/mcp;v=1",
            "/a\\b",
            "/%256d",
            "/%zz",
            "/%2",
            "/%",
            "/%3bx",
            "/%23",
        ] {
            check(path, Some("path_not_canonical"));
        }
    }

    #[test]
    fn refuses_other_forms_and_bytes() {
        check("*", Some("target_form"));
        check("http://a.test/mcp", Some("target_form"));
        check("mcp", Some("target_form"));
        check("", Some("target_form"));
        check("/a b", Some("target_bytes"));
        check("/a#b", Some("target_bytes"));
        check("/ä", Some("target_bytes"));
        check(
            &format!("/{}", "a".repeat(8 * 1024)),
            Some("target_too_long"),
        );
    }
}
