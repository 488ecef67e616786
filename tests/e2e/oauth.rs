//! What the gateway does between a client and Entra ID.
//!
//! Each rule of the sign-in is shown through the gateway, and where it cures something that Entra
//! refuses, also against Entra itself: the same client must fail there.

mod authorize;
mod faults;
pub(crate) mod flow;
mod metadata;
mod registration;
mod token;

use reqwest::Method;
use serde_json::json;

use crate::world::{World, mcp, send};
use flow::{Flow, claims};

#[tokio::test]
async fn a_person_signs_in_and_calls_a_tool() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    let code = flow
        .code(&[("login_hint", "bob@contoso.example")])
        .await
        .unwrap();
    let answer = flow.redeem(&code, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(claims(&token)["preferred_username"], "bob@contoso.example");

    let session = world.session("/mcp", &token).await;
    let arguments = json!({"text": "hi"});
    let text = world
        .call_tool("/mcp", &token, &session, "echo", &arguments)
        .await;
    assert_eq!(text, "hi");
    assert_eq!(
        world.count("gateway_token_exchanges_total{outcome=\"success\"}"),
        1
    );
}

#[tokio::test]
async fn a_refreshed_token_is_as_good_as_the_first() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    let first = flow.tokens().await;
    let answer = flow
        .refresh(first["refresh_token"].as_str().unwrap(), &[])
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let second = answer.json();
    assert!(second["refresh_token"].is_string());
    world
        .session("/mcp", second["access_token"].as_str().unwrap())
        .await;
}

/// A parameter that Entra refuses in an authorization request, and how.
async fn cures_authorization(changes: &[(&str, &str)], refusal: &str) {
    let world = World::usual().await;
    let refused = Flow::straight(&world).code(changes).await.unwrap_err();
    let told = format!(
        "{} {}",
        refused.header("location").unwrap_or(""),
        refused.body
    );
    assert!(told.contains(refusal), "expected {refusal}: {refused:?}");

    let flow = Flow::through_gateway(&world);
    let code = flow.code(changes).await.unwrap();
    assert_eq!(flow.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn a_resource_that_entra_does_not_know_is_no_obstacle() {
    cures_authorization(&[("resource", "https://mcp.example/mcp")], "AADSTS9010010").await;
}

#[tokio::test]
async fn a_prompt_for_consent_does_not_ask_for_an_administrator() {
    cures_authorization(&[("prompt", "consent")], "AADSTS90095").await;
}

#[tokio::test]
async fn a_prompt_given_twice_is_no_obstacle() {
    cures_authorization(
        &[("prompt", "login"), ("prompt", "consent")],
        "AADSTS9000411",
    )
    .await;
}

#[tokio::test]
async fn a_client_that_asks_for_no_scope_signs_in() {
    cures_authorization(&[("scope", "")], "AADSTS900144").await;
}

/// A difference in a token request that Entra refuses, and how.
async fn cures_token_request(
    header: Option<(&str, &str)>,
    changes: &[(&str, &str)],
    refusal: &str,
) {
    let world = World::usual().await;
    for refreshes in [false, true] {
        for (flow, cured) in [
            (Flow::straight(&world), false),
            (Flow::through_gateway(&world), true),
        ] {
            let tokens = flow.tokens().await;
            let refresh_token = tokens["refresh_token"].as_str().unwrap();
            let code = flow.code(&[]).await.unwrap();
            let flow = flow.with_header(header);
            let answer = if refreshes {
                flow.refresh(refresh_token, changes).await
            } else {
                flow.redeem(&code, changes).await
            };
            assert_eq!(answer.status == 200, cured, "{refreshes} {answer:?}");
            assert_eq!(answer.body.contains(refusal), !cured, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_resource_in_a_token_request_is_no_obstacle() {
    let resource = ("resource", "https://mcp.example/mcp");
    cures_token_request(None, &[resource], "AADSTS9010010").await;
}

#[tokio::test]
async fn a_client_in_a_browser_gets_its_token() {
    let origin = ("origin", "http://localhost:6274");
    cures_token_request(Some(origin), &[], "AADSTS9002326").await;
}

#[tokio::test]
async fn entra_itself_is_no_authorization_server_for_mcp() {
    let world = World::usual().await;
    let authority = format!("{}/{}/v2.0", world.entra.authority(), world.entra.tenant());
    let get = |url: String| send(world.client().elsewhere(Method::GET, &url));
    for missing in [
        format!("{authority}/.well-known/oauth-authorization-server"),
        format!(
            "{}/.well-known/oauth-authorization-server/{}/v2.0",
            world.entra.authority(),
            world.entra.tenant()
        ),
    ] {
        assert_eq!(get(missing).await.status, 404);
    }
    let answer = get(format!("{authority}/.well-known/openid-configuration")).await;
    let document = answer.json();
    assert!(document.get("registration_endpoint").is_none());
    assert!(document.get("code_challenge_methods_supported").is_none());
}

#[tokio::test]
async fn the_access_token_of_entra_opens_nothing() {
    let world = World::usual().await;
    let tokens = Flow::straight(&world).tokens().await;
    let token = tokens["access_token"].as_str().unwrap();
    let answer = world
        .rpc("/mcp", Some(token), None, &mcp::initialize())
        .await;
    assert_eq!(answer.status, 401);
    assert!(answer.body.contains("Microsoft Graph"), "{answer:?}");
}
