//! The tenant's two endpoints, refusal by refusal, in the order in which Entra refuses.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_gateway_emulator::entra::{App, Builder, CLIENT_ID, Entra, Platform};
use serde_json::Value;
use url::Url;

use crate::http::{Seen, client, send};

mod authorize;
mod documents;
mod token;

const CALLBACK: &str = "http://localhost:3118/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636, appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const WEB: &str = "11111111-0000-4000-8000-000000000001";
const SPA: &str = "11111111-0000-4000-8000-000000000002";
const BARE: &str = "11111111-0000-4000-8000-000000000003";

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn builder() -> Builder {
    Entra::builder()
        .app(
            App::new(WEB, "Web")
                .redirect(Platform::Web, "https://web.example/cb")
                .secret("secret"),
        )
        .app(App::new(SPA, "Spa").redirect(Platform::Spa, "http://localhost:1/spa"))
        .app(App::new(BARE, "Bare"))
}

async fn entra() -> Entra {
    builder().start().await.unwrap()
}

/// Replaces, adds (`name`), or removes (an empty value) parameters.
fn merge<'a>(base: Pairs<'a>, changes: Pairs<'a>) -> Vec<(&'a str, &'a str)> {
    let mut merged: Vec<_> = base
        .iter()
        .copied()
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name))
        .collect();
    merged.extend(
        changes
            .iter()
            .copied()
            .filter(|(_, value)| !value.is_empty()),
    );
    merged
}

const REQUEST: Pairs<'static> = &[
    ("client_id", CLIENT_ID),
    ("response_type", "code"),
    ("redirect_uri", CALLBACK),
    ("scope", "openid profile offline_access User.Read"),
    ("state", "a/b+c=d e"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

fn with_query(url: &str, pairs: Pairs<'_>) -> Url {
    Url::parse_with_params(url, pairs).unwrap()
}

async fn authorize(entra: &Entra, changes: Pairs<'_>) -> Seen {
    let url = entra.authorization_endpoint();
    send(client().get(with_query(&url, &merge(REQUEST, changes)))).await
}

fn pairs(seen: &Seen) -> std::collections::HashMap<String, String> {
    let location = seen
        .header("location")
        .unwrap_or_else(|| panic!("{seen:?}"));
    Url::parse(location)
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect()
}

async fn code(entra: &Entra, changes: Pairs<'_>) -> String {
    pairs(&authorize(entra, changes).await)
        .remove("code")
        .unwrap()
}

async fn redeem(entra: &Entra, code: &str, changes: Pairs<'_>) -> Seen {
    let base = [
        ("client_id", CLIENT_ID),
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    send(
        client()
            .post(entra.token_endpoint())
            .form(&merge(&base, changes)),
    )
    .await
}

async fn refresh(entra: &Entra, token: &str, changes: Pairs<'_>) -> Seen {
    let base = [
        ("client_id", CLIENT_ID),
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
    ];
    send(
        client()
            .post(entra.token_endpoint())
            .form(&merge(&base, changes)),
    )
    .await
}

fn claims(token: &Value) -> Value {
    let token = token.as_str().unwrap();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[track_caller]
fn shows_page(seen: &Seen, code: u32) {
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(
        seen.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        seen.body.contains(&format!("\"iErrorCode\":{code},")),
        "{code}: {}",
        seen.body
    );
    assert!(seen.body.contains(&format!("AADSTS{code}: ")));
}

#[track_caller]
fn redirects_with(seen: &Seen, error: &str, code: u32) {
    assert_eq!(seen.status, 302, "{seen:?}");
    let pairs = pairs(seen);
    assert_eq!(pairs["error"], error);
    assert!(
        pairs["error_description"].starts_with(&format!("AADSTS{code}: ")),
        "{pairs:?}"
    );
    assert!(pairs["error_description"].contains("Trace ID: "));
    assert_eq!(pairs["state"], "a/b+c=d e");
}

#[track_caller]
fn refuses(seen: &Seen, status: u16, error: &str, code: u32) {
    assert_eq!(seen.status, status, "{seen:?}");
    let body = seen.json();
    assert_eq!(body["error"], error);
    assert_eq!(body["error_codes"], serde_json::json!([code]));
    let description = body["error_description"].as_str().unwrap();
    assert!(description.starts_with(&format!("AADSTS{code}: ")));
}
