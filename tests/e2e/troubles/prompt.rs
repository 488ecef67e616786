//! `prompt`, which sends people to their administrator.

use mcp_gateway_emulator::entra::Endpoint;

use super::{cures_sign_in, seen, signs_in, told};
use crate::{
    oauth::flow::{Flow, find, query},
    world::World,
};

async fn keeping() -> World {
    World::builder()
        .provider("prompt: { keep: [login, none, select_account] }")
        .workload("github")
        .route("/mcp")
        .start()
        .await
}

/// Without a setting, and with `prompt.keep`: `consent` never reaches Entra.
#[tokio::test]
async fn trouble_15_a_prompt_for_consent_asks_for_an_administrator() {
    for world in [World::usual().await, keeping().await] {
        cures_sign_in(&world, &[("prompt", "consent")], "AADSTS90095").await;
    }
}

/// Without a setting, and with `prompt.keep`: one value goes on, or none.
#[tokio::test]
async fn trouble_16_a_prompt_given_twice() {
    let twice = [("prompt", "select_account"), ("prompt", "consent")];
    for (world, expected) in [
        (World::usual().await, None),
        (keeping().await, Some("select_account")),
    ] {
        cures_sign_in(&world, &twice, "AADSTS9000411").await;
        assert_eq!(
            seen(&world, Endpoint::Authorize, "prompt").as_deref(),
            expected
        );
    }
}

/// `prompt.keep`: of a list one value goes on.
#[tokio::test]
async fn trouble_16_a_prompt_that_is_a_list() {
    let world = keeping().await;
    cures_sign_in(&world, &[("prompt", "login consent")], "AADSTS90023").await;
    let sent = seen(&world, Endpoint::Authorize, "prompt");
    assert_eq!(sent.as_deref(), Some("login"));
}

/// Without a setting: the gateway never adds a prompt, nor publishes an endpoint with a query.
#[tokio::test]
async fn trouble_17_a_proxy_that_asks_for_consent_by_itself() {
    let world = World::usual().await;
    let proxied = Flow::straight(&world).code(&[("prompt", "consent")]).await;
    assert!(told(&proxied.unwrap_err()).contains("AADSTS90095"));
    let document = world.get("/.well-known/oauth-authorization-server").await;
    let endpoint = document.json()["authorization_endpoint"].clone();
    assert!(!endpoint.as_str().unwrap().contains('?'), "{endpoint}");
    signs_in(&world, &[]).await;
    assert_eq!(seen(&world, Endpoint::Authorize, "prompt"), None);
}

/// What a person may want is theirs to ask for, where the operator lets it through.
#[tokio::test]
async fn kept_prompts_reach_entra() {
    let world = keeping().await;
    for prompt in ["login", "none", "select_account"] {
        signs_in(&world, &[("prompt", prompt)]).await;
        let sent = seen(&world, Endpoint::Authorize, "prompt");
        assert_eq!(sent.as_deref(), Some(prompt));
    }
    // Entra's answer to a silent request goes to the client.
    let world = World::builder()
        .provider("prompt: { keep: [none] }")
        .entra(|entra| entra.auto_approve(false))
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let refused = Flow::through_gateway(&world)
        .code(&[("prompt", "none")])
        .await
        .unwrap_err();
    assert!(told(&refused).contains("AADSTS50058"), "{refused:?}");
    let pairs = query(refused.header("location").unwrap());
    assert_eq!(find(&pairs, "error"), Some("login_required"));
}
