//! `scope`: forgotten, bare, mixed, of too many APIs, or told in other words than it was asked in.

use mcp_gateway_emulator::entra::{API_SCOPE, App, CLIENT_ID, Endpoint, Grant};

use super::{API, API_URI, bearer, cures_sign_in, seen, signs_in, told, with_api, with_one_app};
use crate::{oauth::flow::Flow, world::World};

/// Each bearer: what a client does not ask for, the gateway does.
#[tokio::test]
async fn trouble_18_no_scope_at_all() {
    for world in [World::usual().await, with_api("access_token").await] {
        cures_sign_in(&world, &[("scope", "")], "AADSTS900144").await;
    }
}

/// `bearer: access_token`: the authorization is for one API, and the exchange names it.
#[tokio::test]
async fn trouble_19_an_exchange_without_a_scope() {
    let world = with_api("access_token").await;
    let scope = format!("{API_URI}/{API_SCOPE} User.Read openid offline_access");
    let asked = [("scope", scope.as_str())];
    let straight = Flow::straight(&world);
    let code = straight.code(&asked).await.unwrap();
    let refused = straight.redeem(&code, &[]).await;
    assert!(told(&refused).contains("AADSTS28003"), "{refused:?}");
    signs_in(&world, &asked).await;
    let sent = seen(&world, Endpoint::Token, "scope").unwrap();
    assert!(sent.contains(&format!("{API_URI}/{API_SCOPE}")), "{sent}");
}

/// `bearer: access_token`: a bare name is one of the API, and not of Graph.
#[tokio::test]
async fn trouble_20_a_bare_scope_is_taken_for_one_of_graph() {
    for world in [with_api("access_token").await, with_one_app().await] {
        cures_sign_in(&world, &[("scope", API_SCOPE)], "AADSTS650053").await;
        // Neither does a name that nobody knows.
        cures_sign_in(&world, &[("scope", "mcp.read openid")], "AADSTS650053").await;
    }
}

/// `bearer: access_token`: scopes are named one by one, and answers name none but those.
#[tokio::test]
async fn trouble_22_the_default_scope_beside_others() {
    let world = with_api("access_token").await;
    let replayed = format!("{API_URI}/.default {API_URI}/{API_SCOPE} openid offline_access");
    let asked = [("scope", replayed.as_str())];
    let straight = Flow::straight(&world);
    let plain = [("scope", "openid offline_access")];
    let code = straight.code(&plain).await.unwrap();
    let token = straight.redeem(&code, &[]).await.json()["refresh_token"].clone();
    let refused = straight.refresh(token.as_str().unwrap(), &asked).await;
    assert!(told(&refused).contains("AADSTS70011"), "{refused:?}");

    let tokens = signs_in(&world, &asked).await;
    assert_eq!(tokens["scope"], API_SCOPE);
    let token = tokens["refresh_token"].as_str().unwrap();
    let answer = Flow::through_gateway(&world).refresh(token, &asked).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Each bearer: `offline_access` is added.
#[tokio::test]
async fn trouble_23_a_client_that_forgets_offline_access() {
    for world in [World::usual().await, with_api("access_token").await] {
        let asked = [("scope", "openid profile")];
        let straight = Flow::straight(&world);
        let code = straight.code(&asked).await.unwrap();
        let tokens = straight.redeem(&code, &[]).await.json();
        assert!(tokens["refresh_token"].is_null(), "{tokens}");
        let tokens = signs_in(&world, &asked).await;
        assert!(tokens["refresh_token"].is_string(), "{tokens}");
    }
}

/// `bearer: access_token`: an answer names the scopes as they were asked for.
#[tokio::test]
async fn trouble_35_scopes_that_were_granted_under_another_name() {
    for world in [with_api("access_token").await, with_one_app().await] {
        let straight = Flow::straight(&world);
        let scope = format!("{API}/{API_SCOPE}");
        let asked = [("scope", scope.as_str())];
        if let Ok(code) = straight.code(&asked).await {
            let granted = straight.redeem(&code, &[]).await.json()["scope"].clone();
            assert_eq!(granted, format!("{API_URI}/{API_SCOPE}"));
        }
        let tokens = signs_in(&world, &[("scope", API_SCOPE)]).await;
        assert_eq!(tokens["scope"], API_SCOPE);
        let token = tokens["refresh_token"].as_str().unwrap();
        let flow = Flow::through_gateway(&world);
        let answer = flow.refresh(token, &[("scope", API_SCOPE)]).await;
        assert_eq!(answer.json()["scope"], API_SCOPE);
    }
}

/// `bearer: access_token`: a sign-in without any parameter of its own is whole all the same.
#[tokio::test]
async fn trouble_45_a_client_that_leaves_parameters_out() {
    let world = with_one_app().await;
    let bare = [("scope", ""), ("state", super::super::oauth::flow::STATE)];
    let refused = Flow::straight(&world).code(&bare).await.unwrap_err();
    assert!(told(&refused).contains("AADSTS900144"), "{refused:?}");
    let tokens = signs_in(&world, &bare).await;
    for member in ["access_token", "refresh_token", "expires_in", "scope"] {
        assert!(!tokens[member].is_null(), "{member}: {tokens}");
    }
}

/// `bearer: access_token`: scopes of an address that is not registered are not asked for.
#[tokio::test]
async fn trouble_49_a_scope_under_an_address_that_nobody_registered() {
    let world = with_api("access_token").await;
    let scope = format!("https://app.azurewebsites.example/{API_SCOPE} openid");
    cures_sign_in(&world, &[("scope", scope.as_str())], "AADSTS500011").await;
    let asked = seen(&world, Endpoint::Authorize, "scope").unwrap();
    assert!(!asked.contains("azurewebsites"), "{asked}");
}

/// `bearer: access_token`: one API per token, whatever else is asked for.
#[tokio::test]
async fn scopes_of_two_apis_are_one_token() {
    let world = with_api("access_token").await;
    let scope = format!("{API_URI}/{API_SCOPE} User.Read openid");
    let asked = [("scope", scope.as_str())];
    let straight = Flow::straight(&world);
    let code = straight.code(&asked).await.unwrap();
    let refused = straight.redeem(&code, &asked).await;
    assert!(told(&refused).contains("AADSTS28000"), "{refused:?}");
    let flow = Flow::through_gateway(&world);
    let code = flow.code(&asked).await.unwrap();
    assert_eq!(flow.redeem(&code, &asked).await.status, 200);
}

/// Whoever names no scope to the token endpoint asks for all of the API: each has to be consented to.
#[tokio::test]
async fn a_token_request_without_a_scope_needs_consent_to_every_one() {
    const MORE: &str = "tools.list";
    let company = |consented: &[&str]| {
        let grant = Grant {
            client: CLIENT_ID.to_owned(),
            resource: API.to_owned(),
            scopes: consented.iter().copied().map(str::to_owned).collect(),
            principal: None,
        };
        World::builder()
            .entra(|entra| {
                let app = App::new(API, "MCP API").exposes(API_URI, &[API_SCOPE, MORE]);
                entra.app(app).grant(grant)
            })
            .provider(&bearer("access_token").replace(API_SCOPE, &format!("{API_SCOPE}, {MORE}")))
            .audience(API)
            .workload("github")
            .route("/mcp")
            .start()
    };
    let asked = [("scope", API_SCOPE)];
    let world = company(&[API_SCOPE]).await;
    let flow = Flow::through_gateway(&world);
    let code = flow.code(&asked).await.unwrap();
    let refused = flow.redeem(&code, &[]).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(told(&refused).contains("AADSTS65001"), "{refused:?}");
    assert!(
        told(&refused).contains("every scope of `api`"),
        "{refused:?}"
    );
    let code = flow.code(&asked).await.unwrap();
    let answer = flow.redeem(&code, &asked).await;
    assert_eq!(answer.json()["scope"], API_SCOPE, "{answer:?}");

    let world = company(&[API_SCOPE, MORE]).await;
    let tokens = signs_in(&world, &asked).await;
    assert_eq!(tokens["scope"], format!("{API_SCOPE} {MORE}"));
}

/// Any name of the API is understood, and one goes on.
#[tokio::test]
async fn every_name_of_the_api_is_understood() {
    let world = with_one_app().await;
    for scope in [
        API_SCOPE.to_owned(),
        format!("{CLIENT_ID}/{API_SCOPE}"),
        format!("api://{CLIENT_ID}/{API_SCOPE}"),
    ] {
        signs_in(&world, &[("scope", scope.as_str())]).await;
        let sent = seen(&world, Endpoint::Authorize, "scope").unwrap();
        let expected = format!("{CLIENT_ID}/{API_SCOPE}");
        assert!(sent.split(' ').any(|one| one == expected), "{sent}");
    }
}
