//! Tokens that are for somebody else, and moving from one bearer to another.

use mcp_gateway_emulator::{
    client::{SignedIn, Step},
    entra::{API_SCOPE, CLIENT_ID},
};
use serde_json::json;

use super::{API, api, bearer, signs_in, with_api, with_one_app};
use crate::{
    oauth::flow::{Flow, claims},
    world::{Authority, World, mcp},
};

/// `bearer: access_token`: what a client asks of Graph is no reason for a token for Graph.
#[tokio::test]
async fn trouble_43_a_token_for_graph_that_nobody_can_verify() {
    for world in [with_api("access_token").await, World::usual().await] {
        let asked = [("scope", "User.Read openid offline_access")];
        let straight = Flow::straight(&world);
        let code = straight.code(&asked).await.unwrap();
        let tokens = straight.redeem(&code, &[]).await.json();
        let token = tokens["access_token"].as_str().unwrap();
        let answer = world
            .rpc("/mcp", Some(token), None, &mcp::initialize())
            .await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.body.contains("Microsoft Graph"), "{answer:?}");
        signs_in(&world, &asked).await;
    }
}

/// `bearer: id_token`: the token that such a server wants, handed to every client.
#[tokio::test]
async fn trouble_44_a_server_that_wants_the_id_token() {
    let world = World::usual().await;
    let tokens = Flow::straight(&world).tokens().await;
    let token = tokens["access_token"].as_str().unwrap();
    let answer = world
        .rpc("/mcp", Some(token), None, &mcp::initialize())
        .await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let tokens = signs_in(&world, &[]).await;
    assert_eq!(tokens["access_token"], tokens["id_token"]);
}

/// `bearer: access_token` or `native`: the audience is the API's id, and what is for the client
/// opens nothing.
#[tokio::test]
async fn trouble_40_an_audience_that_is_not_the_one_expected() {
    for kind in ["access_token", "native"] {
        let world = with_api(kind).await;
        let tokens = signs_in(&world, &[]).await;
        let token = claims(tokens["access_token"].as_str().unwrap());
        assert_eq!(
            (&token["aud"], &token["azp"]),
            (&json!(API), &json!(CLIENT_ID))
        );
        assert_eq!(token["scp"], API_SCOPE);
        let id_token = tokens["id_token"].as_str().unwrap();
        let answer = world
            .rpc("/mcp", Some(id_token), None, &mcp::initialize())
            .await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
}

/// The audience of both is the registration; the id token is for the client all the same.
#[tokio::test]
async fn an_id_token_opens_nothing_where_one_app_is_client_and_api() {
    let world = with_one_app().await;
    let tokens = signs_in(&world, &[]).await;
    let id_token = tokens["id_token"].as_str().unwrap();
    assert_eq!(claims(id_token)["aud"], CLIENT_ID);
    let answer = world
        .rpc("/mcp", Some(id_token), None, &mcp::initialize())
        .await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let reason = "gateway_token_verdicts_total{reason=\"scope\"}";
    assert_eq!(world.count(reason), 1);
}

/// What clients keep is a client id, scopes and a refresh token; none of it belongs to a bearer.
#[tokio::test]
async fn a_client_does_not_notice_that_the_bearer_changes() {
    let mut world = World::builder()
        .entra(api)
        .provider(&bearer("id_token"))
        .workloads_without_oidc()
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let mut tokens = signs_in(&world, &[]).await;
    let mut before = "id_token";
    for after in ["access_token", "native", "id_token", "native", "id_token"] {
        world
            .reconfigure_gateway(&format!("bearer: {before}"), &format!("bearer: {after}"))
            .await;
        let flow = Flow::through_gateway(&world);
        // A token for another audience is refused, which makes a client refresh.
        let old = tokens["access_token"].as_str().unwrap().to_owned();
        let answer = world
            .rpc("/mcp", Some(&old), None, &mcp::initialize())
            .await;
        let same = (before == "id_token") == (after == "id_token");
        assert_eq!(answer.status, if same { 200 } else { 401 }, "{answer:?}");
        let scope = tokens["scope"].as_str().unwrap().to_owned();
        for asked in ["", "openid profile offline_access", &scope] {
            let token = tokens["refresh_token"].as_str().unwrap();
            let answer = flow.refresh(token, &[("scope", asked)]).await;
            assert_eq!(answer.status, 200, "{before} to {after}: {answer:?}");
            tokens = answer.json();
            world
                .session("/mcp", tokens["access_token"].as_str().unwrap())
                .await;
        }
        // So does a sign-in that asks for what was published before.
        signs_in(&world, &[("scope", scope.as_str())]).await;
        before = after;
    }
}

#[tokio::test]
async fn the_official_sdk_signs_in_with_every_bearer() {
    let one = format!("bearer: access_token, api: {{ scopes: [{API_SCOPE}] }}");
    for (settings, audience, scopes) in [
        (
            "bearer: id_token".to_owned(),
            CLIENT_ID,
            json!(["openid", "profile", "email"]),
        ),
        (one, CLIENT_ID, json!([API_SCOPE])),
        (bearer("access_token"), API, json!([API_SCOPE])),
        (bearer("native"), API, json!([API_SCOPE])),
    ] {
        let world = World::builder()
            .entra(api)
            .provider(&settings)
            .audience(audience)
            .workload("github")
            .route("/mcp")
            .tls()
            .start()
            .await;
        let document = world.get("/.well-known/oauth-protected-resource/mcp").await;
        assert_eq!(document.json()["scopes_supported"], scopes);
        let client = SignedIn::builder(format!("{}/mcp", world.public_url()))
            .ca_pem(Authority::shared().pem())
            .person("alice")
            .connect()
            .await
            .unwrap_or_else(|error| panic!("{settings}: {error:?}"));
        assert_eq!(claims(&client.bearer().await.unwrap())["aud"], audience);
        let hi = client.call_text("echo", json!({"text": "hi"})).await;
        assert_eq!(hi.unwrap(), "hi");
        let Step::Redeemed { refreshable, .. } = client.refresh().await.unwrap() else {
            panic!("a refresh redeems a token");
        };
        assert!(refreshable, "{settings}");
        let hi = client.call_text("echo", json!({"text": "again"})).await;
        assert_eq!(hi.unwrap(), "again");
        client.close().await;
    }
}

/// Whatever becomes of the scope on the way: a token for Graph never leaves.
#[tokio::test]
async fn without_a_scope_of_the_api_nothing_is_handed_out() {
    let world = World::builder()
        .yaml_route(&format!(
            "{{ path: /raw, filters: [{{ check_token_request: {{ client_id: {CLIENT_ID} }} }}, \
             {{ pass_token: {{ audiences: [{CLIENT_ID}], api: {{ prefix: {CLIENT_ID}, aliases: ['api://{CLIENT_ID}'], scopes: [{API_SCOPE}] }} }} }}, \
             {{ exchange: {{ url: \"{{authority}}/{{tenant}}/oauth2/v2.0/token\" }} }}] }}"
        ))
        .start()
        .await;
    let flow = Flow::through_gateway(&world).with_token_path("/raw");
    let code = flow.code(&[("scope", "User.Read")]).await.unwrap();
    let answer = flow.redeem(&code, &[]).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (502, "server_error")
    );
    assert!(answer.body.contains("Microsoft Graph"), "{answer:?}");
    assert!(!answer.body.contains("eyJ"), "{answer:?}");
    let api = format!("{CLIENT_ID}/{API_SCOPE}");
    let straight = Flow::straight(&world);
    let code = straight.code(&[("scope", &api)]).await.unwrap();
    let answer = flow.redeem(&code, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["scope"], API_SCOPE);
}
