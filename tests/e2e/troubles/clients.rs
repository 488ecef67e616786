//! What clients keep, guess, or must get back as it was; and pages that are Entra's to show.

use std::time::Duration;

use mcp_gateway_emulator::entra::{Endpoint, LoopbackPorts, Separator};
use reqwest::Method;

use crate::{
    oauth::flow::{CALLBACK, Flow, STATE, claims, find, query},
    world::{World, mcp, send},
};

async fn company(
    change: impl FnOnce(mcp_gateway_emulator::entra::Builder) -> mcp_gateway_emulator::entra::Builder,
) -> World {
    World::builder()
        .workload("github")
        .route("/mcp")
        .entra(change)
        .start()
        .await
}

/// The access token of Entra may live 90 minutes, the id token lives 60: who believes the first
/// number calls with an expired token for half an hour.
#[tokio::test]
async fn a_client_is_not_told_to_keep_a_token_longer_than_it_lives() {
    let world = company(|entra| entra.access_token_lifetime(Duration::from_secs(5400))).await;
    let lifetime = async |flow: Flow<'_>| flow.tokens().await["expires_in"].as_i64().unwrap();
    assert!(lifetime(Flow::straight(&world)).await > 5000);
    let told = lifetime(Flow::through_gateway(&world)).await;
    assert!((3500..=3540).contains(&told), "{told}");
}

#[tokio::test]
async fn a_short_lived_token_is_announced_a_minute_short() {
    let world = company(|entra| entra.id_token_lifetime(Duration::from_secs(100))).await;
    let tokens = Flow::through_gateway(&world).tokens().await;
    let told = tokens["expires_in"].as_i64().unwrap();
    assert!((30..=40).contains(&told), "{told}");
}

/// The scopes of Graph alone bring no id token, and so nothing to call with.
#[tokio::test]
async fn a_client_that_forgets_openid_gets_a_bearer_nevertheless() {
    let world = World::usual().await;
    let asked = [("scope", "User.Read")];
    let straight = Flow::straight(&world);
    let code = straight.code(&asked).await.unwrap();
    let tokens = straight.redeem(&code, &[]).await.json();
    assert!(tokens.get("id_token").is_none(), "{tokens}");
    let flow = Flow::through_gateway(&world);
    let code = flow.code(&asked).await.unwrap();
    let tokens = flow.redeem(&code, &[]).await.json();
    let token = tokens["access_token"].as_str().unwrap();
    world.session("/mcp", token).await;
}

/// always: `invalid_client` makes clients register again
#[tokio::test]
async fn trouble_34_a_client_id_of_another_time_is_told_to_register_again() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    let stale = [("client_id", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6")];
    assert_eq!(flow.authorize(&stale).await.status, 400);
    let answer = flow.refresh("r", &stale).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (401, "invalid_client")
    );
}

/// always: filters keep every byte that they do not mean to change
#[tokio::test]
async fn trouble_50_a_state_returns_as_it_was_sent() {
    // That of VS Code holds `/`, `+` and `=`; one changed byte is a "potential CSRF attack".
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    // The flow itself compares what comes back with what was sent.
    flow.code(&[]).await.unwrap();
    let refused = flow.authorize(&[("code_challenge", "")]).await;
    let pairs = query(refused.header("location").unwrap());
    assert_eq!(find(&pairs, "state"), Some(STATE));
}

/// Errors of Entra are told with line breaks or with spaces; clients need the `error` either way.
#[tokio::test]
async fn refusals_are_passed_on_in_both_of_entras_spellings() {
    for separator in [Separator::LineBreak, Separator::Space] {
        let world = company(|entra| entra.error_separator(separator)).await;
        let answer = Flow::through_gateway(&world).refresh("wrong", &[]).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.error(), "invalid_grant");
    }
}

/// A page of Entra is not the gateway's to change: a person reads there what to do.
#[tokio::test]
async fn a_redirect_uri_that_entra_does_not_know_is_entras_to_explain() {
    let world = company(|entra| {
        entra.loopback_ports(LoopbackPorts {
            localhost: false,
            ..LoopbackPorts::default()
        })
    })
    .await;
    let flow = Flow::through_gateway(&world);
    let answer = flow.code(&[("redirect_uri", CALLBACK)]).await.unwrap_err();
    assert!(answer.body.contains("AADSTS50011"), "{answer:?}");
    assert_eq!(world.entra.requests_to(Endpoint::Authorize).len(), 1);
}

/// `limits: { head_size: … }`, 64 KiB by default
#[tokio::test]
async fn trouble_42_a_token_of_a_person_in_two_hundred_groups_passes() {
    let builder = || World::builder().tls().workload("github").route("/mcp");
    let world = builder().start().await;
    let groups: Vec<String> = (0..200)
        .map(|number| format!("0f3d2b6e-0000-4c5d-9e8f-{number:012}"))
        .collect();
    let token = world.entra.token("alice").claim("groups", groups).build();
    assert!(token.len() > 10_000);
    assert!(claims(&token)["groups"].is_array());
    let initialize = mcp::initialize();
    for request in [
        world.mcp(Method::POST, "/mcp", Some(&token), None),
        world.mcp_h2(Method::POST, "/mcp", Some(&token), None),
    ] {
        let answer = send(request.json(&initialize)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // What other servers take at most.
    let usual = builder()
        .section("limits: { head_size: 8KiB }")
        .start()
        .await;
    let request = usual.mcp(Method::POST, "/mcp", Some(&token), None);
    assert_eq!(send(request.json(&initialize)).await.status, 431);
}
