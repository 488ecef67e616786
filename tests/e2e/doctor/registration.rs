//! What the doctor says of the app registration.

use std::{fs::Permissions, os::unix::fs::PermissionsExt};

use mcp_gateway_emulator::entra::{API_SCOPE, App, CLIENT_ID, Grant, Platform, ResourceMode};

use super::{Company, Diagnosis, check};
use crate::world::Builder;

const SECRET: &str = "s3cr3t-of-the-gateway";
const API_URI: &str = "https://mcp.contoso.example/mcp";

#[tokio::test]
async fn an_application_without_redirect_uris() {
    let none = |world: Builder| world.entra(|entra| entra.redirects(vec![]));
    check(none, ("redirect URIs", "AADSTS900971")).await;
}

#[tokio::test]
async fn a_redirect_uri_that_is_allowed_and_not_registered() {
    let named = |world: Builder| world.provider("redirect_uris: { presets: [claude_ai] }");
    let expect = "https://claude.ai/api/mcp/auth_callback` (claude.ai, Claude Desktop) is not registered (AADSTS50011)";
    check(named, ("redirect URIs", expect)).await;
    let listed = |world: Builder| {
        world.provider("redirect_uris: { presets: [], allow: [\"https://tools.test/cb\"] }")
    };
    check(listed, ("redirect URIs", "`https://tools.test/cb`")).await;
}

#[tokio::test]
async fn a_callback_of_the_gateways_own_that_is_not_registered() {
    let relay = |world: Builder| world.provider("authorize: relay");
    let expect = "/oauth2/callback` (the gateway's own callback) is not registered (AADSTS50011)";
    check(relay, ("redirect URIs", expect)).await;
}

#[tokio::test]
async fn loopback_addresses_of_no_client_at_all() {
    let vscode = "https://vscode.dev/redirect".to_owned();
    let only =
        |world: Builder| world.entra(|entra| entra.redirects(vec![(Platform::Native, vscode)]));
    check(only, ("redirect URIs", "http://localhost:3118/callback")).await;
}

#[tokio::test]
async fn a_registration_of_the_wrong_platform() {
    let on = |platform| {
        let uri = "http://localhost:3118/callback".to_owned();
        move |world: Builder| world.entra(|entra| entra.redirects(vec![(platform, uri)]))
    };
    check(on(Platform::Web), ("client", "AADSTS7000218")).await;
    check(on(Platform::Spa), ("client", "AADSTS9002327")).await;
}

/// A company whose gateway is a confidential client with that secret, on that platform.
async fn confidential(platform: Platform, secret: &str) -> Diagnosis {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let settings = format!(
        "authorize: relay, credentials: {{ client_secret: {{ file: {} }} }}",
        file.display()
    );
    let callback = (platform, "http://127.0.0.1/oauth2/callback".to_owned());
    let entra = |entra: mcp_gateway_emulator::entra::Builder| {
        entra.redirects(vec![callback]).secret(SECRET)
    };
    let company = Company::plain(|world| world.entra(entra).provider(&settings)).await;
    let found = company.look().await;
    assert!(!format!("{:?}", found.findings).contains(secret));
    found
}

#[tokio::test]
async fn a_confidential_gateway_is_fine() {
    let found = confidential(Platform::Web, SECRET).await;
    assert_eq!(found.wrong(), [""; 0]);
    let ok = found.of("ok").join("\n");
    assert!(ok.contains("redirect URIs: 1 of 1"), "{ok}");
    assert!(ok.contains("credentials: Entra accepts"), "{ok}");
}

#[tokio::test]
async fn a_wrong_secret_or_one_for_a_public_client() {
    let found = confidential(Platform::Web, "another-one").await;
    found.names("credentials", "AADSTS7000215");
    let found = confidential(Platform::Native, SECRET).await;
    found.names("credentials", "AADSTS700025");
}

#[tokio::test]
async fn scopes_that_entra_does_not_know() {
    for (scopes, expect) in [
        ("openid, offline_access, nothing.read", "AADSTS650053"),
        (
            "openid, offline_access, \"https://elsewhere.test/x\"",
            "AADSTS500011",
        ),
        (
            "openid, offline_access, User.Read, \"https://graph.microsoft.com/.default\"",
            "AADSTS70011",
        ),
        ("openid, offline_access, Mail.Read", "AADSTS65"),
    ] {
        let settings = format!("scopes: [{scopes}]");
        check(|world| world.provider(&settings), ("scopes", expect)).await;
    }
}

/// A company with a registration of its own for the API, and a gateway that hands out its tokens.
async fn with_api(bearer: &str, uri: &str, scope: &str) -> Diagnosis {
    const API: &str = "6f0a2b1c-77aa-4c1e-9b6d-3e2f1a0b9c8d";
    let settings = format!(
        "bearer: {bearer}, api: {{ application: {API}, identifier_uri: '{uri}', scopes: [{scope}] }}"
    );
    let grant = Grant {
        client: CLIENT_ID.to_owned(),
        resource: API.to_owned(),
        scopes: vec![API_SCOPE.to_owned()],
        principal: None,
    };
    let app = App::new(API, "MCP API").exposes(API_URI, &[API_SCOPE]);
    let company = Company::start(|world| {
        world
            .entra(|entra| entra.app(app).grant(grant))
            .provider(&settings)
            .audience(API)
    })
    .await;
    company.look().await
}

#[tokio::test]
async fn every_bearer_is_asked_about_as_the_gateway_asks() {
    for bearer in ["access_token", "native"] {
        let found = with_api(bearer, API_URI, API_SCOPE).await;
        assert_eq!(found.wrong(), [""; 0], "{bearer}");
        let ok = found.of("ok").join("\n");
        assert!(ok.contains(&format!("{API_URI}/{API_SCOPE}")), "{ok}");
        let taken = ok.contains(&format!("Entra takes `resource={API_URI}`"));
        assert_eq!(taken, bearer == "native", "{ok}");
    }
    let found = with_api("access_token", API_URI, "tools.write").await;
    found.names("scopes", "AADSTS650053");
    let found = with_api(
        "access_token",
        "https://mcp.contoso.example/other",
        API_SCOPE,
    )
    .await;
    found.names("scopes", "AADSTS500011");
}

#[tokio::test]
async fn a_prompt_that_passes() {
    let strip = |world: Builder| world.provider("strip: [resource]");
    check(strip, ("prompt", "AADSTS90094")).await;
}

#[tokio::test]
async fn a_resource_that_passes_and_is_refused() {
    let strip = |world: Builder| world.provider("strip: [prompt]");
    check(strip, ("resource", "AADSTS9010010")).await;
    let legacy = |world: Builder| {
        world
            .provider("strip: [prompt]")
            .entra(|entra| entra.resource_mode(ResourceMode::Legacy))
    };
    check(legacy, ("resource", "AADSTS901002")).await;
}
