//! What a document must say, and what is taken from it.

use http::{HeaderMap, header};
use serde::{Deserialize, de::IgnoredAny};
use url::Url;

/// The most redirect URIs of one client.
const MAX_URIS: usize = 32;
/// The longest redirect URI, in bytes.
const MAX_URI: usize = 2048;
/// The longest name that is shown, in characters.
const MAX_NAME: usize = 100;

/// A client, as its document describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The URL of the document.
    pub client_id: String,
    /// What the client calls itself, fit to be shown; anybody may call himself anything.
    pub name: Option<String>,
    /// The client's home page, when it is on the document's own host.
    pub home: Option<String>,
    /// Where it may be sent back to, at least one.
    pub redirect_uris: Vec<String>,
}

/// Why a document cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Longer than 16 KiB.
    #[error("it is longer than 16384 bytes")]
    TooLarge,
    /// Not sent as JSON.
    #[error("it is not sent as application/json")]
    Type,
    /// Not a JSON object, or a member occurs twice or has the wrong type.
    #[error("it is not a JSON object as RFC 7591 describes")]
    Malformed,
    /// It describes another client.
    #[error("its `client_id` is not its own URL")]
    ClientId,
    /// None, too many, or one that is too long.
    #[error("expected 1 to 32 `redirect_uris` of at most 2048 bytes")]
    RedirectUris,
    /// It holds a secret, which is then nobody's.
    #[error("it holds a secret")]
    Secret,
    /// The client wants to authenticate itself, which is not offered here.
    #[error("its `token_endpoint_auth_method` is not `none`")]
    AuthMethod,
}

/// The members that are looked at (RFC 7591 §2); the others are skipped.
#[derive(Deserialize)]
struct Members {
    client_id: String,
    client_name: Option<String>,
    client_uri: Option<String>,
    redirect_uris: Option<Vec<String>>,
    token_endpoint_auth_method: Option<String>,
    client_secret: Option<IgnoredAny>,
    client_secret_expires_at: Option<IgnoredAny>,
}

/// Refuses an answer that is not JSON by its type.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), Fault> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let essence = types
        .next()
        .filter(|_| types.next().is_none())
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json { Ok(()) } else { Err(Fault::Type) }
}

impl Document {
    /// Reads the document that was found at `url`.
    pub(super) fn parse(url: &str, json: &[u8]) -> Result<Self, Fault> {
        // A list would be read as a struct whose members come in order.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(Fault::Malformed);
        }
        let members: Members = serde_json::from_slice(json).map_err(|_| Fault::Malformed)?;
        if members.client_id != url {
            return Err(Fault::ClientId);
        }
        if members.client_secret.is_some() || members.client_secret_expires_at.is_some() {
            return Err(Fault::Secret);
        }
        // The draft forbids shared secrets; a client that does not say is a public one.
        let method = members.token_endpoint_auth_method.as_deref();
        if method.is_some_and(|method| method != "none") {
            return Err(Fault::AuthMethod);
        }
        let redirect_uris = members.redirect_uris.unwrap_or_default();
        let long = |uri: &String| uri.is_empty() || uri.len() > MAX_URI;
        if redirect_uris.is_empty()
            || redirect_uris.len() > MAX_URIS
            || redirect_uris.iter().any(long)
        {
            return Err(Fault::RedirectUris);
        }
        let own = |home: &String| match (Url::parse(home), Url::parse(url)) {
            (Ok(home), Ok(url)) => home.origin() == url.origin(),
            _ => false,
        };
        Ok(Self {
            client_id: members.client_id,
            name: members.client_name.as_deref().and_then(shown),
            home: members.client_uri.filter(own),
            redirect_uris,
        })
    }

    /// Returns the host that vouches for the client.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self.client_id.strip_prefix("https://").unwrap_or_default();
        rest.split('/').next().unwrap_or_default()
    }
}

/// Returns what of a name may be shown; `None` when nothing is left.
fn shown(name: &str) -> Option<String> {
    let visible = |c: &char| !c.is_control() && !is_invisible(*c);
    let name: String = name.chars().filter(visible).take(MAX_NAME).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Characters that change how others are read without being seen.
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const URL: &str = "https://app.test/client.json";

    fn good() -> Value {
        json!({
            "client_id": URL,
            "client_name": "An App",
            "client_uri": "https://app.test/about",
            "logo_uri": "https://app.test/logo.png",
            "redirect_uris": ["http://localhost/callback", "https://app.test/cb"],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        })
    }

    fn parse(document: &Value) -> Result<Document, Fault> {
        Document::parse(URL, document.to_string().as_bytes())
    }

    /// Changes one member of a good document; `null` takes it away.
    fn check(member: &str, value: Value, expect: Result<(), Fault>) {
        let mut document = good();
        if value.is_null() {
            document.as_object_mut().unwrap().remove(member);
        } else {
            document[member] = value;
        }
        assert_eq!(parse(&document).map(drop), expect, "{document}");
    }

    #[test]
    fn a_good_document_describes_a_client() {
        let client = parse(&good()).unwrap();
        assert_eq!(client.name.as_deref(), Some("An App"));
        assert_eq!(client.home.as_deref(), Some("https://app.test/about"));
        assert_eq!(client.host(), "app.test");
    }

    #[test]
    fn a_document_describes_itself() {
        check(
            "client_id",
            json!("https://app.test/other"),
            Err(Fault::ClientId),
        );
        check(
            "client_id",
            json!("https://APP.test/client.json"),
            Err(Fault::ClientId),
        );
        check("client_id", Value::Null, Err(Fault::Malformed));
    }

    #[test]
    fn a_client_says_where_it_may_be_sent_back_to() {
        check("redirect_uris", Value::Null, Err(Fault::RedirectUris));
        check("redirect_uris", json!([]), Err(Fault::RedirectUris));
        check("redirect_uris", json!([""]), Err(Fault::RedirectUris));
        check(
            "redirect_uris",
            json!("http://localhost/"),
            Err(Fault::Malformed),
        );
        check(
            "redirect_uris",
            json!(vec!["https://a.test/"; 33]),
            Err(Fault::RedirectUris),
        );
    }

    #[test]
    fn a_document_holds_no_secret() {
        check("client_secret", json!("s"), Err(Fault::Secret));
        check("client_secret_expires_at", json!(0), Err(Fault::Secret));
        check(
            "token_endpoint_auth_method",
            json!("client_secret_basic"),
            Err(Fault::AuthMethod),
        );
        check(
            "token_endpoint_auth_method",
            json!("private_key_jwt"),
            Err(Fault::AuthMethod),
        );
        check("token_endpoint_auth_method", Value::Null, Ok(()));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in ["", "[]", "null", "{", "\"x\"", "{\"client_id\":1}"] {
            assert_eq!(Document::parse(URL, text.as_bytes()), Err(Fault::Malformed));
        }
        let twice = good().to_string().replacen('{', "{\"client_id\":\"x\",", 1);
        let twice = Document::parse(URL, twice.as_bytes());
        assert_eq!(twice, Err(Fault::Malformed));
        let deep = format!("{{\"x\":{}}}", "[".repeat(10_000));
        assert_eq!(Document::parse(URL, deep.as_bytes()), Err(Fault::Malformed));
    }

    #[test]
    fn a_home_elsewhere_is_not_shown() {
        let mut document = good();
        document["client_uri"] = json!("https://bank.test/");
        assert_eq!(parse(&document).unwrap().home, None);
    }

    #[test]
    fn a_name_cannot_hide_anything() {
        let name = |name: &str| shown(name);
        assert_eq!(name(" a\u{202e}b\u{0}\n ").as_deref(), Some("ab"));
        assert_eq!(name("\u{200b}\u{feff} "), None);
        assert_eq!(
            name(&"x".repeat(500)).map(|name| name.len()),
            Some(MAX_NAME)
        );
    }

    #[test]
    fn a_document_is_json_by_its_type() {
        let check = |value: &'static str, expect: Result<(), Fault>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(check_type(&headers), expect, "{value}");
        };
        check("application/json", Ok(()));
        check("Application/JSON; charset=utf-8", Ok(()));
        check("application/client-metadata+json", Ok(()));
        check("text/html", Err(Fault::Type));
        check("text/json", Err(Fault::Type));
        assert_eq!(check_type(&HeaderMap::new()), Err(Fault::Type));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".{0,200}", name in ".{0,200}") {
            let _ = Document::parse(URL, text.as_bytes());
            let mut document = good();
            document["client_name"] = name.into();
            let shown = parse(&document).unwrap().name.unwrap_or_default();
            prop_assert!(shown.chars().count() <= MAX_NAME);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
