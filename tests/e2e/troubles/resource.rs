//! `resource`, which MCP asks clients to send and Entra takes for one exact value only.

use mcp_gateway_emulator::entra::{API_SCOPE, CLIENT_ID, Endpoint, ResourceMode};
use reqwest::Method;

use super::{API_URI, api, bearer, cures_sign_in, seen, signs_in, told, with_api, with_one_app};
use crate::{
    oauth::flow::Flow,
    world::{World, mcp, send},
};

/// Without a setting: `resource` never reaches Entra.
#[tokio::test]
async fn trouble_04_a_tenant_of_before_2026_refuses_every_resource() {
    let world = World::builder()
        .entra(|entra| entra.resource_mode(ResourceMode::Legacy))
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let changes = [("resource", "https://mcp.example/mcp")];
    cures_sign_in(&world, &changes, "AADSTS901002").await;
}

/// `bearer: access_token`, which drops `resource` and asks by scope.
#[tokio::test]
async fn trouble_05_the_servers_url_is_no_resource_beside_a_scope_of_the_api() {
    let world = with_one_app().await;
    let scope = format!("api://{CLIENT_ID}/{API_SCOPE} openid offline_access");
    let changes = [
        ("resource", "https://mcp.example/mcp"),
        ("scope", scope.as_str()),
    ];
    cures_sign_in(&world, &changes, "AADSTS9010010").await;
}

/// `bearer: native`, which passes the App ID URI as it is registered.
#[tokio::test]
async fn trouble_06_a_slash_at_the_end_of_the_resource_is_not_what_is_registered() {
    let world = with_api("native").await;
    let scope = format!("{API_URI}/{API_SCOPE} openid offline_access");
    let slash = format!("{API_URI}/");
    let changes = [("resource", slash.as_str()), ("scope", scope.as_str())];
    cures_sign_in(&world, &changes, "AADSTS9010010").await;
    let sent = seen(&world, Endpoint::Authorize, "resource");
    assert_eq!(sent.as_deref(), Some(API_URI));
}

/// `bearer: native`, which qualifies the short names that clients see.
#[tokio::test]
async fn trouble_07_a_bare_scope_beside_a_resource_is_asked_of_graph() {
    let world = with_api("native").await;
    let changes = [("resource", API_URI), ("scope", API_SCOPE)];
    cures_sign_in(&world, &changes, "AADSTS9010010").await;
}

/// Each bearer, at the token endpoint.
#[tokio::test]
async fn trouble_08_a_resource_refuses_the_exchange_of_the_code() {
    for world in [
        World::usual().await,
        with_one_app().await,
        with_api("native").await,
    ] {
        let changes = [("resource", "https://mcp.example/mcp")];
        let straight = Flow::straight(&world);
        let code = straight.code(&[]).await.unwrap();
        let refused = straight.redeem(&code, &changes).await;
        assert!(told(&refused).contains("AADSTS9010010"), "{refused:?}");
        let flow = Flow::through_gateway(&world);
        let code = flow.code(&[]).await.unwrap();
        let answer = flow.redeem(&code, &changes).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// Each bearer, at every refresh.
#[tokio::test]
async fn trouble_09_a_resource_refuses_every_refresh() {
    for world in [
        World::usual().await,
        with_one_app().await,
        with_api("native").await,
    ] {
        let changes = [("resource", "https://mcp.example/mcp")];
        let token = Flow::straight(&world).tokens().await["refresh_token"].clone();
        let refused = Flow::straight(&world)
            .refresh(token.as_str().unwrap(), &changes)
            .await;
        assert!(told(&refused).contains("AADSTS9010010"), "{refused:?}");
        let flow = Flow::through_gateway(&world);
        let token = flow.tokens().await["refresh_token"].clone();
        let answer = flow.refresh(token.as_str().unwrap(), &changes).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// `bearer: native`: the URL of the route becomes the App ID URI, and the scope its own.
#[tokio::test]
async fn trouble_10_an_https_resource_and_an_api_scope_do_not_agree() {
    let world = with_api("native").await;
    let resource = world.url("/mcp");
    let scope = format!("{API_URI}/{API_SCOPE}");
    let changes = [("resource", resource.as_str()), ("scope", scope.as_str())];
    cures_sign_in(&world, &changes, "AADSTS9010010").await;
}

/// `bearer: access_token`: `resource` goes, the scope is qualified.
#[tokio::test]
async fn trouble_11_a_bare_scope_and_the_servers_url() {
    let world = with_api("access_token").await;
    let resource = world.url("/mcp");
    let changes = [("resource", resource.as_str()), ("scope", API_SCOPE)];
    cures_sign_in(&world, &changes, "AADSTS9010010").await;
}

/// Without a setting: `resource` never reaches Entra.
#[tokio::test]
async fn trouble_13_a_resource_beside_scopes_of_openid_connect_only() {
    let world = World::usual().await;
    let changes = [
        ("resource", "https://mcp.example/mcp"),
        ("scope", "openid profile email"),
    ];
    cures_sign_in(&world, &changes, "AADSTS9010010").await;
}

/// Without a setting; the client id stands in the form, as clients of `/register` are told.
#[tokio::test]
async fn trouble_14_a_client_that_adds_a_slash_and_is_public() {
    let world = World::usual().await;
    let changes = [("resource", "https://mcp.example/mcp/")];
    cures_sign_in(&world, &changes, "AADSTS9010010").await;
    assert_eq!(
        seen(&world, Endpoint::Token, "client_id").as_deref(),
        Some(CLIENT_ID)
    );
    assert_eq!(seen(&world, Endpoint::Token, "client_secret"), None);
}

/// `bearer: native`: a token of version 2.0 names the application's id, whatever the resource was.
#[tokio::test]
async fn trouble_41_the_audience_is_the_id_and_not_the_resource() {
    // A server that expects the resource, as RFC 8707 has it.
    let expecting = World::builder()
        .entra(api)
        .provider(&bearer("native"))
        .audience(API_URI)
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let tokens = Flow::through_gateway(&expecting).tokens().await;
    let token = tokens["access_token"].as_str().unwrap();
    let server = expecting.workloads[0].url();
    let request = expecting.client().elsewhere(Method::POST, &server);
    let refused = send(request.bearer_auth(token).json(&mcp::initialize())).await;
    assert_eq!(refused.status, 401, "{refused:?}");

    let world = with_api("native").await;
    let tokens = signs_in(&world, &[("resource", API_URI)]).await;
    let claims = crate::oauth::flow::claims(tokens["access_token"].as_str().unwrap());
    assert_eq!(claims["aud"], super::API);
    assert_ne!(claims["aud"], API_URI);
}

/// `v1_tokens: true`, where the API's manifest does not ask for version 2.0
#[tokio::test]
async fn trouble_40_a_token_of_version_1_names_the_app_id_uri() {
    let start = async |more: &str| {
        World::builder()
            .entra(|entra| {
                entra.registration(|mut app| {
                    app.token_version = 1;
                    app
                })
            })
            .provider(&format!(
                "bearer: access_token, api: {{ scopes: [{API_SCOPE}] }}{more}"
            ))
            .workloads_without_oidc()
            .workload("github")
            .route("/mcp")
            .start()
            .await
    };
    let world = start("").await;
    let token = world.entra.api_token("alice").unwrap();
    let audience = &crate::oauth::flow::claims(&token)["aud"];
    assert_eq!(*audience, format!("api://{CLIENT_ID}"));
    let initialize = mcp::initialize();
    let answer = world.rpc("/mcp", Some(&token), None, &initialize).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let world = start(", v1_tokens: true").await;
    let token = world.entra.api_token("alice").unwrap();
    world.session("/mcp", &token).await;
}

/// `bearer: native` or `access_token`: what the client names need not be registrable.
#[tokio::test]
async fn trouble_47_an_address_that_cannot_be_an_app_id_uri() {
    for kind in ["native", "access_token"] {
        let world = with_api(kind).await;
        let scope = format!("{API_URI}/{API_SCOPE}");
        let changes = [
            (
                "resource",
                "https://a1.execute-api.eu-west-1.amazonaws.com/mcp",
            ),
            ("scope", scope.as_str()),
        ];
        cures_sign_in(&world, &changes, "AADSTS9010010").await;
    }
}

/// Without a setting: what a proxy of one's own was written for.
#[tokio::test]
async fn trouble_48_resource_and_consent_together() {
    let world = World::usual().await;
    let changes = [
        ("resource", "https://mcp.example/mcp"),
        ("prompt", "consent"),
    ];
    cures_sign_in(&world, &changes, "AADSTS9010010").await;
    let consent = Flow::straight(&world).code(&changes[1..]).await;
    assert!(told(&consent.unwrap_err()).contains("AADSTS90095"));
}

/// `strip: [prompt]` instead of the default lets `resource` through, and the trouble back in.
#[tokio::test]
async fn without_the_cure_the_trouble_is_back() {
    let world = World::builder()
        .entra(api)
        .provider(&format!("{}, strip: [prompt]", bearer("access_token")))
        .audience(super::API)
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let changes = [("resource", "https://mcp.example/mcp")];
    let refused = Flow::through_gateway(&world).code(&changes).await;
    assert!(told(&refused.unwrap_err()).contains("AADSTS9010010"));
}
