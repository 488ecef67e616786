//! What is sealed opens where, when and for whom it was meant to, and nowhere else.

use mcp_gateway_emulator::entra::CLIENT_ID;

use super::{CODEX, company};
use crate::{
    relay::person::{App, Pairs, Person, code, told},
    world::{Answer, World},
};

#[track_caller]
fn is_refused(answer: &Answer, status: u16, error: &str, says: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (status, error));
    assert!(answer.body.contains(says), "{answer:?}");
}

#[track_caller]
fn is_page(answer: &Answer, says: &str) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.header("location").is_none());
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(answer.body.contains(says), "{answer:?}");
}

/// Turns one character of a sealed value into another.
fn changed(text: &str) -> String {
    let middle = text.len() / 2;
    let to = if &text[middle..=middle] == "A" {
        "B"
    } else {
        "A"
    };
    format!("{}{to}{}", &text[..middle], &text[middle + 1..])
}

async fn signed_in(world: &World) -> (App, String) {
    let app = App::registered(world, CODEX).await;
    let back = Person::default().sign_in(world, &app, &[]).await;
    let code = code(&back, &app);
    (app, code)
}

#[tokio::test]
async fn a_code_is_good_for_its_client_its_address_and_its_verifier() {
    let world = company().start().await;
    let (app, good) = signed_in(&world).await;
    let other = App::registered(&world, CODEX).await;
    let answer = other.redeem(&world, &good, &[]).await;
    is_refused(&answer, 400, "invalid_grant", "another client");
    let verifier = "x".repeat(43);
    let cases: [(Pairs<'_>, &str); 4] = [
        (
            &[("redirect_uri", "http://127.0.0.1:1/callback/8f3c1d2e")],
            "redirect_uri",
        ),
        (&[("redirect_uri", "")], "redirect_uri"),
        (&[("code_verifier", &verifier)], "code_verifier"),
        (&[("client_id", CLIENT_ID)], "another client"),
    ];
    for (changes, says) in cases {
        is_refused(
            &app.redeem(&world, &good, changes).await,
            400,
            "invalid_grant",
            says,
        );
    }
    let forged = app.redeem(&world, &changed(&good), &[]).await;
    is_refused(&forged, 400, "invalid_grant", "changed");
    let raw = app.redeem(&world, "1.AXcA", &[]).await;
    is_refused(
        &raw,
        400,
        "invalid_grant",
        "not one that this server gave out",
    );
    assert_eq!(app.redeem(&world, &good, &[]).await.status, 200);
    let twice = app.redeem(&world, &good, &[]).await;
    is_refused(&twice, 400, "invalid_grant", "AADSTS54005");
    assert_eq!(
        world
            .entra
            .requests_to(mcp_gateway_emulator::entra::Endpoint::Token)
            .len(),
        2
    );
}

#[tokio::test]
async fn a_refresh_token_is_good_for_its_client_only_and_never_raw() {
    let world = company().start().await;
    let (app, good) = signed_in(&world).await;
    let tokens = app.redeem(&world, &good, &[]).await.json();
    let sealed = tokens["refresh_token"].as_str().unwrap();
    let other = App::registered(&world, CODEX).await;
    is_refused(
        &other.refresh(&world, sealed).await,
        400,
        "invalid_grant",
        "another client",
    );
    is_refused(
        &app.refresh(&world, &changed(sealed)).await,
        400,
        "invalid_grant",
        "changed",
    );
    for raw in ["0.AXcA", "", sealed.get(..sealed.len() / 2).unwrap()] {
        let answer = app.refresh(&world, raw).await;
        assert_eq!(answer.status, 400, "{raw}: {answer:?}");
    }
    // A code is no refresh token, whoever brings it.
    let answer = app.refresh(&world, &good).await;
    is_refused(&answer, 400, "invalid_grant", "a key that is gone");
}

#[tokio::test]
async fn a_state_is_good_in_its_browser_only() {
    let world = company().start().await;
    let app = App::registered(&world, CODEX).await;
    let mut person = Person::default();
    let page = person.open(&world, &app.target(&[])).await;
    let onward = person.decide(&world, &page, "approve", &[]).await;
    let callback = person.at_provider(&world, &onward).await.unwrap();

    let mut stranger = Person::default();
    is_page(&stranger.open(&world, &callback).await, "another browser");
    stranger.open(&world, &app.target(&[])).await;
    is_page(&stranger.open(&world, &callback).await, "another browser");
    let state = told(&onward, "state").unwrap();
    let forged = callback.replace(&state, &changed(&state));
    assert_ne!(forged, callback);
    is_page(
        &person.open(&world, &forged).await,
        "not the end of a sign-in",
    );
    is_page(
        &person.open(&world, "/oauth2/callback?code=x").await,
        "not the end of a sign-in",
    );
    assert_eq!(person.open(&world, &callback).await.status, 302);
}

#[tokio::test]
async fn an_answer_is_good_in_the_browser_that_was_asked() {
    let world = company().start().await;
    let app = App::registered(&world, CODEX).await;
    let mut person = Person::default();
    let page = person.open(&world, &app.target(&[])).await;
    let mut stranger = Person::default();
    is_page(
        &stranger.decide(&world, &page, "approve", &[]).await,
        "cookie",
    );
    stranger.open(&world, &app.target(&[])).await;
    is_page(
        &stranger.decide(&world, &page, "approve", &[]).await,
        "does not belong to a question",
    );
    assert_eq!(
        person.decide(&world, &page, "approve", &[]).await.status,
        303
    );
}

/// After a change of the keys nothing that is out there opens: clients register and sign in again.
#[tokio::test]
async fn values_of_a_key_that_is_gone_are_refused_so_that_clients_begin_again() {
    let old = company().start().await;
    let (app, good) = signed_in(&old).await;
    let tokens = old_tokens(&old, &app, &good).await;
    let new = company().stored_key().start().await;
    let mut person = Person::default();
    let page = person.open(&new, &app.target(&[])).await;
    is_page(&page, "not known here");
    let answer = app.refresh(&new, &tokens).await;
    is_refused(&answer, 401, "invalid_client", "register again");
    let again = App::registered(&new, CODEX).await;
    let answer = again.refresh(&new, &tokens).await;
    is_refused(&answer, 400, "invalid_grant", "a key that is gone");
    Person::default().tokens(&new, &again).await;
}

async fn old_tokens(world: &World, app: &App, code: &str) -> String {
    let answer = app.redeem(world, code, &[]).await.json();
    answer["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_returns_only_to_what_it_registered() {
    let world = company().start().await;
    let app = App::registered(&world, CODEX).await;
    let mut person = Person::default();
    for elsewhere in [
        "http://127.0.0.1:38211/other",
        "https://vscode.dev/redirect",
    ] {
        let page = person
            .open(&world, &app.target(&[("redirect_uri", elsewhere)]))
            .await;
        is_page(&page, "did not register");
    }
    let port = [("redirect_uri", "http://localhost:1/callback/8f3c1d2e")];
    assert_eq!(person.open(&world, &app.target(&port)).await.status, 200);
}
