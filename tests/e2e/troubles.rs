//! What people reported about MCP clients and Entra ID, and the gateway cures.
//!
//! Each test is named after a trouble of the list in the documents. It shows first that the same
//! client fails without the gateway, or without the setting that cures it, and then the cure. The
//! line above a test is that setting.

mod bearer;
mod clients;
mod discovery;
mod prompt;
mod redirects;
mod refresh;
mod resource;
mod scope;
mod tenants;

use mcp_gateway_emulator::entra::{self, API_SCOPE, App, CLIENT_ID, Endpoint, Grant};

use crate::{
    oauth::flow::{Flow, Pairs},
    world::{Answer, World},
};

/// The registration of an API of its own.
const API: &str = "6f0a2b1c-77aa-4c1e-9b6d-3e2f1a0b9c8d";
/// Its App ID URI.
const API_URI: &str = "https://mcp.contoso.example/mcp";

/// A tenant in which the API has a registration of its own, consented for everyone.
fn api(entra: entra::Builder) -> entra::Builder {
    entra
        .app(App::new(API, "MCP API").exposes(API_URI, &[API_SCOPE]))
        .grant(Grant {
            client: CLIENT_ID.to_owned(),
            resource: API.to_owned(),
            scopes: vec![API_SCOPE.to_owned()],
            principal: None,
        })
}

/// The settings of a bearer that is a token of that API.
fn bearer(bearer: &str) -> String {
    format!(
        "bearer: {bearer}, api: {{ application: {API}, identifier_uri: '{API_URI}', scopes: [{API_SCOPE}] }}"
    )
}

/// A company with that API, and a gateway with that bearer.
async fn with_api(kind: &str) -> World {
    World::builder()
        .entra(api)
        .provider(&bearer(kind))
        .audience(API)
        .workload("github")
        .route("/mcp")
        .start()
        .await
}

/// A company in which one registration is client and API, and a gateway that hands out its access
/// tokens.
async fn with_one_app() -> World {
    World::builder()
        .provider(&format!(
            "bearer: access_token, api: {{ scopes: [{API_SCOPE}] }}"
        ))
        .workload("github")
        .route("/mcp")
        .start()
        .await
}

/// Everything that a refusal says.
fn told(answer: &Answer) -> String {
    let location = answer.header("location").unwrap_or_default();
    format!("{location} {}", answer.body)
}

/// Shows that Entra refuses an authorization request of a client, and that the same signs in
/// through the gateway and opens a session.
async fn cures_sign_in(world: &World, changes: Pairs<'_>, refusal: &str) {
    let refused = Flow::straight(world).code(changes).await.unwrap_err();
    assert!(told(&refused).contains(refusal), "{refusal}: {refused:?}");
    signs_in(world, changes).await;
}

/// Signs in through the gateway, and opens a session with the token.
async fn signs_in(world: &World, changes: Pairs<'_>) -> serde_json::Value {
    let flow = Flow::through_gateway(world);
    let code = flow.code(changes).await.unwrap();
    let answer = flow.redeem(&code, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let tokens = answer.json();
    let token = tokens["access_token"].as_str().unwrap();
    world.session("/mcp", token).await;
    tokens
}

/// A decoded parameter of the last request on an endpoint of Entra.
fn seen(world: &World, endpoint: Endpoint, name: &str) -> Option<String> {
    let requests = world.entra.requests_to(endpoint);
    let request = requests.last().unwrap();
    match endpoint {
        Endpoint::Token => request.field(name),
        _ => request.param(name),
    }
}
