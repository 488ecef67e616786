//! Signing in through the gateway's own callback: the question, the codes, the clients.

pub(crate) mod confidential;
pub(crate) mod person;
mod replays;

use mcp_gateway_emulator::entra::Platform;
use serde_json::json;

use crate::world::{Builder, World, log, send};
use person::{App, Person, code, told};

/// Where Codex listens: a path of its own for each server.
pub(crate) const CODEX: &str = "http://127.0.0.1:38211/callback/8f3c1d2e";

/// A company whose registration at Entra knows the gateway's callback, and nothing else.
pub(crate) fn company() -> Builder {
    let callback = (
        Platform::Native,
        "http://127.0.0.1/oauth2/callback".to_owned(),
    );
    World::builder()
        .workload("github")
        .route("/mcp")
        .entra(|entra| entra.redirects(vec![callback]))
        .provider("authorize: relay")
}

#[tokio::test]
async fn a_person_allows_a_client_and_calls_a_tool() {
    let world = company().start().await;
    let app = App::registered(&world, CODEX).await;
    let mut person = Person::default();
    let page = person.open(&world, &app.target(&[])).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("Allow Test Client to use this server"));
    assert!(
        page.body
            .contains("<code>http://127.0.0.1:38211/callback/8f3c1d2e</code>")
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("script-src"));

    let onward = person.decide(&world, &page, "approve", &[]).await;
    assert_eq!(onward.status, 303, "{onward:?}");
    let callback = person.at_provider(&world, &onward).await.unwrap();
    let back = person.open(&world, &callback).await;
    assert_eq!(back.status, 302, "{back:?}");
    assert_eq!(told(&back, "iss").as_deref(), Some(world.public_url()));
    assert_eq!(back.header("referrer-policy"), Some("no-referrer"));

    let answer = app.redeem(&world, &code(&back, &app), &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let session = world.session("/mcp", &token).await;
    let text = world
        .call_tool("/mcp", &token, &session, "echo", &json!({"text": "hi"}))
        .await;
    assert_eq!(text, "hi");
}

#[tokio::test]
async fn a_refreshed_token_is_as_good_as_the_first() {
    let world = company().start().await;
    let app = App::registered(&world, CODEX).await;
    let mut tokens = Person::default().tokens(&world, &app).await;
    for _ in 0..3 {
        let answer = app
            .refresh(&world, tokens["refresh_token"].as_str().unwrap())
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        tokens = answer.json();
        world
            .session("/mcp", tokens["access_token"].as_str().unwrap())
            .await;
    }
}

#[tokio::test]
async fn the_metadata_promises_the_issuer_and_every_answer_keeps_the_promise() {
    let world = company().start().await;
    let metadata = world
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(
        metadata["authorization_response_iss_parameter_supported"],
        true
    );
    let app = App::registered(&world, CODEX).await;
    let issuer = Some(world.public_url().to_owned());

    let mut person = Person::default();
    let refused = person
        .open(&world, &app.target(&[("code_challenge", "")]))
        .await;
    assert_eq!(
        (refused.status, told(&refused, "iss")),
        (302, issuer.clone())
    );
    let page = person.open(&world, &app.target(&[])).await;
    let denied = person.decide(&world, &page, "deny", &[]).await;
    assert_eq!(told(&denied, "error").as_deref(), Some("access_denied"));
    assert_eq!(told(&denied, "iss"), issuer);
    assert_eq!(told(&denied, "state").as_deref(), Some(person::STATE));

    // What Entra refuses goes to the client, too: a scope that does not exist.
    let unknown = [("scope", "openid nothing.like.this")];
    let refused = person.sign_in(&world, &app, &unknown).await;
    assert_eq!(told(&refused, "error").as_deref(), Some("server_error"));
    assert!(
        told(&refused, "error_description")
            .unwrap()
            .contains("AADSTS650053")
    );
    assert_eq!(told(&refused, "iss"), issuer);
}

#[tokio::test]
async fn without_a_relay_nothing_is_promised() {
    let world = World::usual().await;
    let metadata = world
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert!(
        metadata
            .get("authorization_response_iss_parameter_supported")
            .is_none()
    );
    assert_eq!(
        world.get("/oauth2/callback?code=x&state=y").await.status,
        404
    );
}

#[tokio::test]
async fn two_replicas_finish_one_sign_in_between_them() {
    let world = company().start().await;
    let other = world.gateway();
    let app = App::registered(&world, CODEX).await;
    let mut person = Person::default();
    let page = person.open(&other, &app.target(&[])).await;
    let onward = person.decide(&world, &page, "approve", &[]).await;
    let callback = person.at_provider(&world, &onward).await.unwrap();
    let back = person.open(&other, &callback).await;
    let code = code(&back, &app);
    let answer = app.redeem(&world, &code, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // The other replica has not seen the code being used; Entra has.
    let again = app.redeem(&other, &code, &[]).await;
    assert_eq!(
        (again.status, again.error().as_str()),
        (400, "invalid_grant")
    );
    let token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(app.refresh(&other, &token).await.status, 200);
}

#[tokio::test]
async fn consent_is_remembered_for_a_website_and_never_for_this_computer() {
    const SITE: &str = "https://vscode.dev/redirect";
    let world = company().start().await;
    for (redirect_uri, asked_again) in [(SITE, false), (CODEX, true)] {
        let app = App::registered(&world, redirect_uri).await;
        let mut person = Person::default();
        let page = person.open(&world, &app.target(&[])).await;
        assert_eq!(page.body.contains("name=\"remember\""), !asked_again);
        let remember = [("remember", "yes")];
        person.decide(&world, &page, "approve", &remember).await;
        let next = person.open(&world, &app.target(&[])).await;
        assert_eq!(next.status == 200, asked_again, "{redirect_uri}: {next:?}");
        if !asked_again {
            let callback = person.at_provider(&world, &next).await.unwrap();
            code(&person.open(&world, &callback).await, &app);
            // Another client at the same address is another question.
            let other = App::registered(&world, redirect_uri).await;
            assert_eq!(person.open(&world, &other.target(&[])).await.status, 200);
        }
    }
}

#[tokio::test]
async fn what_a_relay_carries_is_in_no_log() {
    let world = company().start().await;
    let app = App::registered(&world, CODEX).await;
    let mut person = Person::default();
    let page = person.open(&world, &app.target(&[])).await;
    let onward = person.decide(&world, &page, "approve", &[]).await;
    let callback = person.at_provider(&world, &onward).await.unwrap();
    let back = person.open(&world, &callback).await;
    let secrets = [
        person::hidden(&page),
        told(&onward, "state").unwrap(),
        told(&onward, "code_challenge").unwrap(),
        told(&back, "code").unwrap(),
        app.id.clone(),
        person::VERIFIER.to_owned(),
    ];
    let answer = app.redeem(&world, &secrets[3], &[]).await;
    let tokens = answer.json();
    world
        .access_line(|line| line["path"] == "/oauth2/token")
        .await;
    let written = log::text() + &world.access_text();
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    for secret in secrets.iter().map(String::as_str).chain([refresh_token]) {
        assert!(!written.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn why_a_sign_in_ended_is_in_the_access_line() {
    let world = company().start().await;
    let app = App::registered(&world, CODEX).await;
    let mut person = Person::default();
    let page = person.open(&world, &app.target(&[])).await;
    person.decide(&world, &page, "deny", &[]).await;
    let line = world
        .access_line(|line| line["path"] == "/oauth2/consent")
        .await;
    assert_eq!(line["reason"], "consent_denied");
    let sample = "gateway_refusals_total{reason=\"consent_denied\",route=\"/oauth2/consent\"}";
    assert_eq!(world.count(sample), 1);
}

#[tokio::test]
async fn the_consent_page_is_posted_to_and_nothing_else() {
    let world = company().start().await;
    assert_eq!(world.get("/oauth2/consent").await.status, 405);
    let request = world
        .client()
        .request(reqwest::Method::POST, "/oauth2/consent")
        .json(&json!({"decision": "approve"}));
    assert_eq!(send(request).await.status, 400);
}
