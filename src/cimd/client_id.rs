//! What a client id must look like to be the URL of a document.

use url::Url;

/// The longest client id that is looked at, in bytes.
const MAX_LENGTH: usize = 2048;

/// Checks a client id (draft-ietf-oauth-client-id-metadata-document §3). A query, which the draft
/// advises against, is refused: it would give one document as many names as anybody likes.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_LENGTH {
        return Err("it is longer than 2048 bytes");
    }
    let url = Url::parse(text).map_err(|_| "it is not a URL")?;
    if url.scheme() != "https" {
        return Err("it is not https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name");
    }
    if url.fragment().is_some() {
        return Err("it holds a fragment");
    }
    if url.query().is_some() {
        return Err("it holds a query");
    }
    if url.path() == "/" {
        return Err("it has no path");
    }
    // Clients are compared by the text of their id, so each has one. This also finds dot segments,
    // a default port, upper case in the host and everything else that parsers tidy up.
    if url.as_str() != text {
        return Err("it is not in its normal form");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_refused(text: &str, expect: &str) {
        assert_eq!(check(text), Err(expect), "{text}");
    }

    #[test]
    fn the_url_of_a_document_is_https_with_a_path() {
        assert_eq!(check("https://claude.ai/oauth/client-metadata"), Ok(()));
        assert_eq!(check("https://app.example.com:8443/client.json"), Ok(()));
        check_refused("https://claude.ai/", "it has no path");
        check_refused("https://claude.ai", "it has no path");
        check_refused("http://claude.ai/c", "it is not https");
        check_refused("claude", "it is not a URL");
    }

    #[test]
    fn it_has_one_spelling() {
        for text in [
            "https://CLAUDE.ai/c",
            "https://claude.ai:443/c",
            "https://claude.ai/a/../c",
            "https://claude.ai/./c",
            "https://claude.ai/a/%2e%2E/c",
            "https://claude.ai/a b",
            "https://claude.ai\\c",
            " https://claude.ai/c",
            "https://0x7f.1/c",
            "https:/claude.ai/c",
        ] {
            check_refused(text, "it is not in its normal form");
        }
    }

    #[test]
    fn it_holds_nothing_else() {
        check_refused("https://claude.ai/c?x=1", "it holds a query");
        check_refused("https://claude.ai/c#x", "it holds a fragment");
        check_refused("https://me@claude.ai/c", "it holds a user name");
        let long = format!("https://claude.ai/{}", "a".repeat(MAX_LENGTH));
        check_refused(&long, "it is longer than 2048 bytes");
    }

    proptest! {
        #[test]
        fn what_passes_is_what_is_called(text in "https://[a-zA-Z0-9.:@\\[\\]-]{1,20}/[ -~]{0,20}") {
            if check(&text).is_ok() {
                let url = Url::parse(&text).unwrap();
                prop_assert_eq!(url.as_str(), text.as_str());
            }
        }
    }
}
