//! Registration: everybody becomes the one public client (RFC 7591).

use mcp_gateway_emulator::entra::CLIENT_ID;
use reqwest::Method;
use serde_json::{Value, json};

use super::flow::CALLBACK;
use crate::world::{Answer, World, send};

async fn register(body: &Value) -> Answer {
    World::usual().await.post_json("/register", body).await
}

#[track_caller]
fn is_refused(answer: &Answer, error: &str) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.error(), error);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_client_gets_the_configured_id_and_no_secret() {
    let answer = register(&json!({
        "client_name": "Claude Code",
        "redirect_uris": [CALLBACK, "https://vscode.dev/redirect"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    }))
    .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(
        answer.json(),
        json!({
            "client_id": CLIENT_ID,
            "client_name": "Claude Code",
            "redirect_uris": [CALLBACK, "https://vscode.dev/redirect"],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "application_type": "native",
        })
    );
}

#[tokio::test]
async fn nothing_is_echoed_that_is_not_offered() {
    let answer = register(&json!({
        "redirect_uris": [CALLBACK],
        "grant_types": ["password", "client_credentials", "authorization_code", "implicit"],
        "response_types": ["token", "code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "client_secret": "chosen",
        "client_id": "chosen",
        "jwks_uri": "https://evil.example/keys",
        "software_statement": "x.y.z",
        "scope": "Directory.ReadWrite.All",
        "anything": {"else": [1]},
    }))
    .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(
        answer.json(),
        json!({
            "client_id": CLIENT_ID,
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        })
    );
}

#[tokio::test]
async fn loopback_is_allowed_on_any_port_and_others_by_name() {
    let world = World::builder()
        .workload("github")
        .route("/mcp")
        .provider("redirect_uris: { allow: [\"https://app.example/cb\", \"app://cb\"] }")
        .start()
        .await;
    for (uri, allowed) in [
        ("http://localhost:1/callback", true),
        ("http://127.0.0.1:65535/mcp/oauth/callback", true),
        ("http://[::1]:3000/callback", true),
        ("https://app.example/cb", true),
        ("app://cb", true),
        ("https://app.example/cb/", false),
        ("https://app.example/cb?x=1", false),
        ("https://APP.example/cb", false),
        ("app://cb/", false),
        ("https://evil.example/cb", false),
        ("http://app.example/cb", false),
        ("http://localhost.evil.example/cb", false),
        ("http://localhost@evil.example/cb", false),
        ("http://localhost:1\\@evil.example/cb", false),
        ("http://127.0.0.1.evil.example/", false),
        ("http://localhost:3118/callback#fragment", false),
        ("javascript:alert(1)", false),
        ("/callback", false),
        ("", false),
    ] {
        let body = json!({"redirect_uris": [uri]});
        let answer = world.post_json("/register", &body).await;
        if allowed {
            assert_eq!(answer.status, 201, "{uri}: {answer:?}");
            assert_eq!(answer.json()["redirect_uris"], json!([uri]));
        } else {
            is_refused(&answer, "invalid_redirect_uri");
        }
    }
    let mixed = json!({"redirect_uris": [CALLBACK, "https://evil.example/cb"]});
    is_refused(
        &world.post_json("/register", &mixed).await,
        "invalid_redirect_uri",
    );
}

#[tokio::test]
async fn what_is_no_registration_is_refused_in_words() {
    let world = World::usual().await;
    for (body, error) in [
        ("", "invalid_client_metadata"),
        ("{", "invalid_client_metadata"),
        ("[]", "invalid_client_metadata"),
        ("{\"redirect_uris\": \"x\"}", "invalid_client_metadata"),
        (
            "{\"redirect_uris\": [], \"redirect_uris\": []}",
            "invalid_client_metadata",
        ),
        ("{}", "invalid_redirect_uri"),
        ("{\"redirect_uris\": []}", "invalid_redirect_uri"),
    ] {
        let request = world
            .client()
            .request(Method::POST, "/register")
            .header("content-type", "application/json")
            .body(body);
        is_refused(&send(request).await, error);
    }
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let request = world
        .client()
        .request(Method::POST, "/register")
        .header("content-type", "application/json")
        .body(deep);
    is_refused(&send(request).await, "invalid_client_metadata");
    let form = world
        .post_form("/register", &[("redirect_uris", CALLBACK)])
        .await;
    assert_eq!(form.status, 415);
    assert_eq!(form.error(), "invalid_client_metadata");
    let get = world.get("/register").await;
    assert_eq!(get.status, 405);
    let large = json!({"redirect_uris": [CALLBACK], "x": "x".repeat(64 * 1024)});
    assert_eq!(world.post_json("/register", &large).await.status, 413);
}
