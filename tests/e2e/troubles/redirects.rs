//! Where the browser is sent back to, and as which client: cured by `authorize: relay`.

use mcp_gateway_emulator::entra::{CLIENT_ID, Entra, LoopbackPorts, Platform};
use reqwest::Method;
use tempfile::NamedTempFile;

use super::{API, api, bearer};
use crate::{
    relay::{
        CODEX, company, confidential,
        person::{App, Pairs, Person, STATE, VERIFIER, code, told},
    },
    world::{Answer, Builder, World, send},
};

/// Where Claude Code listens.
const CLAUDE_CODE: &str = "http://localhost:3118/callback";

/// The client that everybody is where nothing is relayed.
fn shared(redirect_uri: &str) -> App {
    App {
        id: CLIENT_ID.to_owned(),
        redirect_uri: redirect_uri.to_owned(),
    }
}

/// Opens the page at which the same client would have signed in without the gateway.
async fn straight(world: &World, entra: &Entra, redirect_uri: &str) -> Answer {
    let target = shared(redirect_uri).target(&[]);
    let query = target.split_once('?').unwrap().1;
    let url = format!("{}?{query}", entra.authorization_endpoint());
    send(world.client().elsewhere(Method::GET, &url)).await
}

/// Entra alone answers a client that listens here with this number, and a relay signs it in.
async fn cured(world: Builder, redirect_uri: &str, refusal: &str) {
    let world = world.start().await;
    let refused = straight(&world, &world.entra, redirect_uri).await;
    assert!(
        refused.body.contains(refusal),
        "expected {refusal}: {refused:?}"
    );
    assert!(refused.header("location").is_none());

    let app = App::registered(&world, redirect_uri).await;
    let tokens = Person::default().tokens(&world, &app).await;
    world
        .session("/mcp", tokens["access_token"].as_str().unwrap())
        .await;
}

/// `authorize: relay`
#[tokio::test]
async fn trouble_24_the_address_of_a_client_need_not_be_registered() {
    cured(company(), CLAUDE_CODE, "AADSTS50011").await;
}

/// `authorize: relay`
#[tokio::test]
async fn trouble_25_an_application_without_addresses_of_clients_will_do() {
    // Entra alone: nothing is registered at all. The relay needs its one address.
    let bare = World::builder()
        .entra(|entra| entra.redirects(vec![]))
        .start()
        .await;
    let refused = straight(&bare, &bare.entra, CLAUDE_CODE).await;
    assert!(refused.body.contains("AADSTS900971"), "{refused:?}");
    cured(company(), CLAUDE_CODE, "AADSTS50011").await;
}

/// `authorize: relay`
#[tokio::test]
async fn trouble_26_the_path_on_loopback_may_be_any() {
    cured(company(), CODEX, "AADSTS50011").await;
    cured(company(), "http://127.0.0.1:5/a/b?c=d", "AADSTS50011").await;
}

fn secret() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), confidential::SECRET).unwrap();
    file
}

/// The client signs in where its address belongs to a web application; its code is then refused.
async fn code_of_a_web_application(world: &World) -> Answer {
    let answer = straight(world, &world.entra, CLAUDE_CODE).await;
    let code = told(&answer, "code").unwrap();
    let form = [
        ("client_id", CLIENT_ID),
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", CLAUDE_CODE),
        ("code_verifier", VERIFIER),
    ];
    let request = world
        .client()
        .elsewhere(Method::POST, &world.entra.token_endpoint());
    send(request.form(&form)).await
}

/// `authorize: relay` with `credentials`
#[tokio::test]
async fn trouble_27_a_web_application_signs_public_clients_in() {
    let secret = secret();
    let world = confidential::company(&secret)
        .entra(|entra| entra.redirect(Platform::Web, CLAUDE_CODE))
        .start()
        .await;
    let refused = code_of_a_web_application(&world).await;
    assert_eq!(refused.status, 401);
    assert!(refused.body.contains("AADSTS7000218"), "{refused:?}");

    let app = App::registered(&world, CLAUDE_CODE).await;
    let tokens = Person::default().tokens(&world, &app).await;
    world
        .session("/mcp", tokens["access_token"].as_str().unwrap())
        .await;
}

/// `authorize: relay` with `credentials`
#[tokio::test]
async fn trouble_46_after_the_sign_in_the_first_request_follows() {
    let secret = secret();
    let world = confidential::company(&secret)
        .entra(|entra| entra.redirect(Platform::Web, CLAUDE_CODE))
        .start()
        .await;
    let refused = code_of_a_web_application(&world).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    let app = App::registered(&world, CLAUDE_CODE).await;
    let tokens = Person::default().tokens(&world, &app).await;
    let token = tokens["access_token"].as_str().unwrap();
    let session = world.session("/mcp", token).await;
    let arguments = serde_json::json!({"text": "hi"});
    let text = world
        .call_tool("/mcp", token, &session, "echo", &arguments)
        .await;
    assert_eq!(text, "hi");
}

/// always: `check_token_request`
#[tokio::test]
async fn trouble_28_a_secret_that_a_client_made_up_never_reaches_entra() {
    let world = company().start().await;
    let made_up: Pairs<'_> = &[("client_secret", "made-up")];
    let form = [
        ("client_id", CLIENT_ID),
        ("client_secret", "made-up"),
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
    ];
    let request = world
        .client()
        .elsewhere(Method::POST, &world.entra.token_endpoint());
    let refused = send(request.form(&form)).await;
    assert!(refused.body.contains("AADSTS700025"), "{refused:?}");

    // Registration offers no secret, and whoever sends one is told so by the gateway.
    let app = App::registered(&world, CLAUDE_CODE).await;
    let back = Person::default().sign_in(&world, &app, &[]).await;
    let code = code(&back, &app);
    let told = app.redeem(&world, &code, made_up).await;
    assert_eq!(
        (told.status, told.error().as_str()),
        (401, "invalid_client")
    );
    assert!(!told.body.contains("AADSTS"));
    assert_eq!(app.redeem(&world, &code, &[]).await.status, 200);
}

/// always: `remove_headers`
#[tokio::test]
async fn trouble_29_a_client_in_a_browser_gets_its_token() {
    const INSPECTOR: &str = "http://localhost:6274/oauth/callback";
    let world = company()
        .entra(|entra| entra.redirect(Platform::Native, INSPECTOR))
        .start()
        .await;
    let redeem = async |app: &App, code: &str, url: String| {
        let form = [
            ("client_id", app.id.as_str()),
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", INSPECTOR),
            ("code_verifier", VERIFIER),
        ];
        let request = world.client().elsewhere(Method::POST, &url);
        send(
            request
                .header("origin", "http://localhost:6274")
                .form(&form),
        )
        .await
    };
    let answer = straight(&world, &world.entra, INSPECTOR).await;
    let own = told(&answer, "code").unwrap();
    let refused = redeem(&shared(INSPECTOR), &own, world.entra.token_endpoint()).await;
    assert!(refused.body.contains("AADSTS9002326"), "{refused:?}");

    let app = App::registered(&world, INSPECTOR).await;
    let back = Person::default().sign_in(&world, &app, &[]).await;
    let answer = redeem(&app, &code(&back, &app), world.url("/oauth2/token")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

/// `authorize: relay`
#[tokio::test]
async fn trouble_30_an_address_that_the_portal_does_not_take() {
    cured(company(), "http://127.0.0.1:33418/", "AADSTS50011").await;
}

/// `authorize: relay`
#[tokio::test]
async fn trouble_31_both_names_of_this_computer_are_one() {
    let world = company().start().await;
    let app = App::registered(&world, CLAUDE_CODE).await;
    let flipped = App {
        redirect_uri: "http://127.0.0.1:3118/callback".to_owned(),
        ..app
    };
    let refused = straight(&world, &world.entra, &flipped.redirect_uri).await;
    assert!(refused.body.contains("AADSTS50011"), "{refused:?}");
    Person::default().tokens(&world, &flipped).await;
}

/// `authorize: relay`
#[tokio::test]
async fn trouble_32_the_port_of_a_client_may_change() {
    let ports = LoopbackPorts {
        localhost: false,
        ipv4: true,
    };
    let world = company()
        .entra(|entra| {
            entra
                .loopback_ports(ports)
                .redirect(Platform::Native, CLAUDE_CODE)
        })
        .start()
        .await;
    let other = "http://localhost:54545/callback";
    let refused = straight(&world, &world.entra, other).await;
    assert!(refused.body.contains("AADSTS50011"), "{refused:?}");
    // Registered while it listened on one port, it now listens on another.
    let app = App::registered(&world, CLAUDE_CODE).await;
    let app = App {
        redirect_uri: other.to_owned(),
        ..app
    };
    Person::default().tokens(&world, &app).await;
}

/// always: `invalid_client` makes clients register again
#[tokio::test]
async fn trouble_34_a_client_id_of_another_time_is_replaced() {
    let old = company().start().await;
    let stale = App::registered(&old, CLAUDE_CODE).await;
    // Entra shows the person a page, and the client waits for ever.
    let target = stale.target(&[]);
    let query = target.split_once('?').unwrap().1;
    let url = format!("{}?{query}", old.entra.authorization_endpoint());
    let refused = send(old.client().elsewhere(Method::GET, &url)).await;
    assert!(refused.body.contains("AADSTS700016"), "{refused:?}");

    let new = company().stored_key().start().await;
    let page = Person::default().open(&new, &stale.target(&[])).await;
    assert_eq!(page.status, 400);
    assert!(
        page.body
            .contains("Remove the server from your application and add it again")
    );
    let told = stale.refresh(&new, "whatever").await;
    assert_eq!(
        (told.status, told.error().as_str()),
        (401, "invalid_client")
    );
    let fresh = App::registered(&new, CLAUDE_CODE).await;
    Person::default().tokens(&new, &fresh).await;
}

/// `authorize: relay`, whatever the bearer
#[tokio::test]
async fn a_relay_signs_in_with_every_bearer() {
    for kind in ["id_token", "access_token", "native"] {
        let world = company()
            .entra(api)
            .provider(&format!("authorize: relay, {}", bearer(kind)))
            .audience(if kind == "id_token" { CLIENT_ID } else { API })
            .start()
            .await;
        let app = App::registered(&world, CODEX).await;
        let tokens = Person::default().tokens(&world, &app).await;
        world
            .session("/mcp", tokens["access_token"].as_str().unwrap())
            .await;
        let refreshed = app
            .refresh(&world, tokens["refresh_token"].as_str().unwrap())
            .await;
        assert_eq!(refreshed.status, 200, "{kind}: {refreshed:?}");
        let token = refreshed.json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        world.session("/mcp", &token).await;
    }
}

/// `authorize: relay`
#[tokio::test]
async fn should_entra_ever_name_itself_as_issuer_clients_do_not_notice() {
    let world = company()
        .entra(|entra| entra.emit_iss(true).redirect(Platform::Native, CLAUDE_CODE))
        .start()
        .await;
    // Straight back to the client, the issuer is not the one that it asked (RFC 9207).
    let answer = straight(&world, &world.entra, CLAUDE_CODE).await;
    assert_ne!(told(&answer, "iss").as_deref(), Some(world.public_url()));
    let app = App::registered(&world, CLAUDE_CODE).await;
    let back = Person::default().sign_in(&world, &app, &[]).await;
    assert_eq!(told(&back, "iss").as_deref(), Some(world.public_url()));
    assert_eq!(told(&back, "state").as_deref(), Some(STATE));
}
