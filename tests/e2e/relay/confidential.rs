//! The gateway as a confidential client: its secret goes with what it has opened, and nowhere else.

use std::io::Write;

use mcp_gateway_emulator::entra::{CLIENT_ID, Endpoint, Platform};
use tempfile::NamedTempFile;

use super::CODEX;
use crate::{
    relay::person::{App, Person},
    world::{AssertionKey, Builder, World, log},
};

pub(crate) const SECRET: &str = "Kq8~correct.horse-battery_staple";

fn file(secret: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{secret}").unwrap();
    file
}

/// A company that registered the callback as that of a web application.
fn web(credentials: &str) -> Builder {
    let callback = (Platform::Web, "http://127.0.0.1/oauth2/callback".to_owned());
    World::builder()
        .workload("github")
        .route("/mcp")
        .entra(|entra| entra.redirects(vec![callback]))
        .provider(&format!("authorize: relay, credentials: {credentials}"))
}

/// Such a company, whose application has a secret.
pub(crate) fn company(secret: &NamedTempFile) -> Builder {
    let file = secret.path().display();
    web(&format!("{{ client_secret: {{ file: {file} }} }}")).entra(|entra| entra.secret(SECRET))
}

#[tokio::test]
async fn a_person_signs_in_and_stays_signed_in() {
    let secret = file(SECRET);
    let world = company(&secret).start().await;
    let app = App::registered(&world, CODEX).await;
    let tokens = Person::default().tokens(&world, &app).await;
    world
        .session("/mcp", tokens["access_token"].as_str().unwrap())
        .await;
    let answer = app
        .refresh(&world, tokens["refresh_token"].as_str().unwrap())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!(log::text() + &world.access_text()).contains(SECRET));
}

#[tokio::test]
async fn a_certificate_does_for_the_gateway_what_a_secret_does() {
    let key = AssertionKey::generate();
    let uploaded = key.uploaded();
    let world = web(&key.credentials())
        .entra(|entra| {
            entra.registration(|mut app| {
                app.certificates.push(uploaded);
                app
            })
        })
        .start()
        .await;
    let app = App::registered(&world, CODEX).await;
    let tokens = Person::default().tokens(&world, &app).await;
    let answer = app
        .refresh(&world, tokens["refresh_token"].as_str().unwrap())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for request in world.entra.requests_to(Endpoint::Token) {
        assert!(request.field("client_assertion").is_some());
        assert!(request.field("client_secret").is_none());
    }
}

/// The gateway's own credentials are refused: the client is told to come back, and nothing that would
/// make it forget its registration.
async fn check_refused(company: Builder, aadsts: &str) {
    let world = company.start().await;
    let app = App::registered(&world, CODEX).await;
    let mut person = Person::default();
    let back = person.sign_in(&world, &app, &[]).await;
    let code = super::code(&back, &app);
    let answer = app.redeem(&world, &code, &[]).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (503, "server_error")
    );
    let sample = "gateway_token_exchanges_total{outcome=\"credentials_refused\"}";
    assert_eq!(world.count(sample), 1);
    let sample = format!("gateway_provider_errors_total{{aadsts=\"{aadsts}\"}}");
    assert_eq!(world.count(&sample), 1);
    let line = world
        .access_line(|line| line["path"] == "/oauth2/token")
        .await;
    assert_eq!(line["reason"], "credentials_refused");
    // Whoever comes back meanwhile gets the same answer and makes no line of the log.
    assert_eq!(app.redeem(&world, &code, &[]).await.status, 503);
    let text = log::text();
    let told = text.lines().filter(|line| {
        line.contains("the authorization server refuses the gateway itself")
            && line.contains(&format!(" aadsts={aadsts} "))
            && line.ends_with("left_out=0")
    });
    assert_eq!(told.count(), 1);
}

#[tokio::test]
async fn a_wrong_secret_is_the_operators_and_not_the_clients_to_cure() {
    check_refused(company(&file("a-secret-of-nobody")), "7000215").await;
}

#[tokio::test]
async fn a_secret_that_has_expired_is_the_operators_and_not_the_clients_to_cure() {
    const OLD: &str = "a-secret-of-last-year";
    let secret = file(OLD);
    let expired = company(&secret).entra(|entra| {
        entra.registration(|mut app| {
            app.expired_secrets.push(OLD.to_owned());
            app
        })
    });
    check_refused(expired, "7000222").await;
}

#[tokio::test]
async fn a_certificate_that_entra_does_not_know_is_the_operators_to_upload() {
    check_refused(web(&AssertionKey::generate().credentials()), "700027").await;
}

#[tokio::test]
async fn the_secret_is_lent_to_nobody() {
    let secret = file(SECRET);
    let world = company(&secret).start().await;
    let app = App::registered(&world, CODEX).await;
    let token_requests = || world.entra.requests_to(Endpoint::Token).len();
    for id in [app.id.as_str(), CLIENT_ID] {
        for form in [
            vec![
                ("grant_type", "client_credentials"),
                ("scope", "x/.default"),
            ],
            vec![
                ("grant_type", "refresh_token"),
                ("refresh_token", "0.AXcAraw"),
            ],
            vec![
                ("grant_type", "authorization_code"),
                ("code", "1.AXcAraw"),
                ("code_verifier", super::person::VERIFIER),
                ("redirect_uri", CODEX),
            ],
            vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", "x.y.z"),
            ],
        ] {
            let mut form = form;
            form.push(("client_id", id));
            let answer = world.post_form("/oauth2/token", &form).await;
            assert_eq!(answer.status, 400, "{form:?}: {answer:?}");
        }
    }
    assert_eq!(token_requests(), 0);
}
