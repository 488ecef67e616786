//! Staying signed in: what ends a grant, and what must not.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use mcp_gateway_emulator::entra::{API_SCOPE, CLIENT_ID, Endpoint, Fault};
use serde_json::Value;

use super::{API, bearer, seen, signs_in, told, with_api, with_one_app};
use crate::{
    oauth::flow::{Flow, claims},
    world::{Scripted, World, mcp},
};

const HOUR: Duration = Duration::from_secs(3600);

/// `bearer: access_token`: one registration that is client and API is named by its id.
#[tokio::test]
async fn trouble_21_refresh_keeps_working_when_one_app_is_client_and_api() {
    let world = with_one_app().await;
    let scope = format!("api://{CLIENT_ID}/{API_SCOPE} openid offline_access");
    let asked = [("scope", scope.as_str())];
    let straight = Flow::straight(&world);
    let code = straight.code(&asked).await.unwrap();
    let signed_in = straight.redeem(&code, &[]).await;
    assert_eq!(signed_in.status, 200, "signing in works: {signed_in:?}");
    let straight_token = signed_in.json()["refresh_token"].clone();
    let flow = Flow::through_gateway(&world);
    let tokens = signs_in(&world, &asked).await;

    world.entra.clock().advance(HOUR);
    let token = straight_token.as_str().unwrap();
    for changes in [&[][..], &asked] {
        let refused = straight.refresh(token, changes).await;
        assert!(told(&refused).contains("AADSTS90009"), "{refused:?}");
    }
    // Also a refresh token that was got without the gateway lives on.
    for token in [tokens["refresh_token"].as_str().unwrap(), token] {
        for changes in [&[][..], &asked, &[("scope", API_SCOPE)]] {
            let answer = flow.refresh(token, changes).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let tokens = answer.json();
            assert_eq!(tokens["scope"], API_SCOPE);
            assert!(tokens["refresh_token"].is_string(), "{tokens}");
            let claims = claims(tokens["access_token"].as_str().unwrap());
            assert_eq!(claims["aud"], CLIENT_ID);
            assert_eq!(claims["scp"], API_SCOPE);
        }
    }
}

/// Each bearer goes on hour after hour.
#[tokio::test]
async fn a_day_of_refreshes() {
    for world in [
        World::usual().await,
        with_one_app().await,
        with_api("access_token").await,
        with_api("native").await,
    ] {
        let flow = Flow::through_gateway(&world);
        let mut tokens = flow.tokens().await;
        for _ in 0..24 {
            world.entra.clock().advance(HOUR);
            let token = tokens["refresh_token"].as_str().unwrap();
            let answer = flow.refresh(token, &[]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            tokens = answer.json();
        }
    }
}

/// Refuses a refresh in a way of Entra's, and returns what the client is told.
async fn refused(world: &World, fault: Fault) -> Value {
    let flow = Flow::through_gateway(world);
    let tokens = flow.tokens().await;
    world.entra.fail(Endpoint::Token, fault.clone(), 1);
    let straight = Flow::straight(world);
    let token = tokens["refresh_token"].as_str().unwrap();
    let said = straight.refresh(token, &[]).await;
    assert_eq!(said.status, 400, "{said:?}");
    world.entra.fail(Endpoint::Token, fault, 1);
    let answer = flow.refresh(token, &[]).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let (said, told) = (said.json(), answer.json());
    assert_eq!(told["error_codes"], said["error_codes"]);
    assert_eq!(told["claims"], said["claims"]);
    told
}

/// Clients repeat `interaction_required` for ever; `invalid_grant` makes them sign in again, where
/// Entra can ask for what its policy wants.
#[tokio::test]
async fn a_policy_that_wants_the_person_back_makes_clients_sign_in_again() {
    for world in [World::usual().await, with_api("access_token").await] {
        for code in [50_076, 50_079, 53_003] {
            let told = refused(&world, Fault::Interaction(code)).await;
            assert_eq!(told["error"], "invalid_grant", "{told}");
            assert_eq!(told["error_codes"][0], code);
            assert!(told["claims"].is_string(), "{told}");
        }
        assert_eq!(
            refused(&world, Fault::Revoked).await["error"],
            "invalid_grant"
        );
        signs_in(&world, &[]).await;
    }
}

#[tokio::test]
async fn a_grant_that_ended_makes_clients_sign_in_again() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    let tokens = flow.tokens().await;
    world.entra.clock().advance(HOUR * 24 * 91);
    let token = tokens["refresh_token"].as_str().unwrap();
    let answer = flow.refresh(token, &[]).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (400, "invalid_grant")
    );
    let tokens = flow.tokens().await;
    world.entra.revoke_refresh_tokens();
    let token = tokens["refresh_token"].as_str().unwrap();
    let answer = flow.refresh(token, &[]).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (400, "invalid_grant")
    );
}

/// `step_up`: what a policy demands is asked for as a scope, and reaches Entra as `claims`.
#[tokio::test]
async fn a_demand_travels_as_a_scope_and_arrives_as_claims() {
    let demand = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    let world = World::builder()
        .entra(super::api)
        .provider(&format!(
            "{}, step_up: {{ mfa: '{demand}' }}",
            bearer("access_token")
        ))
        .audience(API)
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let document = world.get("/.well-known/oauth-authorization-server").await;
    let published = document.json()["scopes_supported"].clone();
    assert_eq!(published, serde_json::json!([API_SCOPE, "mfa"]));
    let document = world.get("/.well-known/oauth-protected-resource/mcp").await;
    let asked = document.json()["scopes_supported"].clone();
    assert_eq!(asked, serde_json::json!([API_SCOPE]), "not without need");

    // The demand of a token answer, as a challenge hands it on.
    let told = refused(&world, Fault::Interaction(50_076)).await;
    let told = told["claims"].as_str().unwrap();
    let names = std::collections::BTreeMap::new();
    let carried = mcp_gateway_filters::claims_scope(&names, told).unwrap();
    for (scope, claims) in [("mfa", demand), (carried.as_str(), told)] {
        let scope = format!("{API_SCOPE} {scope}");
        let tokens = signs_in(&world, &[("scope", scope.as_str())]).await;
        assert_eq!(tokens["scope"], API_SCOPE);
        let sent = seen(&world, Endpoint::Authorize, "claims").unwrap();
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(json(&sent), json(claims));
        // A client repeats what it asked for.
        let token = tokens["refresh_token"].as_str().unwrap();
        let flow = Flow::through_gateway(&world);
        let answer = flow.refresh(token, &[("scope", &scope)]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// A workload that demands claims is heard by a client that knows scopes only: challenge, sign-in,
/// and no loop where the authorization server would not understand.
#[tokio::test]
async fn what_a_workload_demands_reaches_entra_by_way_of_the_client() {
    let demand = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    for (settings, heard) in [(bearer("access_token"), true), (bearer("id_token"), false)] {
        let mut upstream = Scripted::start();
        let world = World::builder()
            .entra(super::api)
            .provider(&settings)
            .upstream("github", &[upstream.address()])
            .route("/mcp")
            .start()
            .await;
        let tokens = Flow::through_gateway(&world).tokens().await;
        let token = tokens["access_token"].as_str().unwrap();
        let initialize = mcp::initialize();
        let refuse = async {
            let encoded = STANDARD.encode(demand);
            upstream
                .asked()
                .await
                .write(format!(
                    "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer \
                     realm=\"\", error=\"insufficient_claims\", claims=\"{encoded}\"\r\n\r\n"
                ))
                .await;
        };
        let (answer, ()) = tokio::join!(world.rpc("/mcp", Some(token), None, &initialize), refuse);
        if !heard {
            assert_eq!(answer.status, 502, "a sign-in cannot bring it: {answer:?}");
            continue;
        }
        assert_eq!(answer.status, 401, "{answer:?}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("insufficient_claims"), "{challenge}");
        let scope = challenge.split("scope=\"").nth(1).unwrap();
        let scope = scope.split('"').next().unwrap();
        assert!(scope.starts_with(API_SCOPE), "{challenge}");
        // What a client does with a challenge: it signs in for its scope.
        let flow = Flow::through_gateway(&world);
        let code = flow.code(&[("scope", scope)]).await.unwrap();
        assert_eq!(flow.redeem(&code, &[]).await.status, 200);
        let sent = seen(&world, Endpoint::Authorize, "claims").unwrap();
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(json(&sent), json(demand));
    }
}
