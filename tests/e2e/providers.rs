//! Sign-in through providers other than Entra ID: each of them, with a real client.
//!
//! Where a profile cures something, the same client is also pointed straight at the provider, by
//! metadata that names it, and must fail there.

use mcp_gateway_emulator::{
    client::{ClientError, SignedIn, Step},
    provider::{AUDIENCE, Access, CLIENT_ID, Kind, Provider, Quirks},
};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::world::{World, mcp, send};

/// The profile of a provider, as short as it can be against a stand-in.
fn profile(kind: Kind, provider: &Provider) -> String {
    profile_with(kind, provider, "")
}

/// The same with more settings.
fn profile_with(kind: Kind, provider: &Provider, settings: &str) -> String {
    let (issuer, origin) = (provider.issuer(), provider.origin());
    let endpoints = format!(
        "authorization_endpoint: \"{}\", token_endpoint: \"{}\", jwks_uri: \"{}\"",
        provider.authorization_endpoint(),
        provider.token_endpoint(),
        provider.jwks_uri()
    );
    let (name, more) = match kind {
        Kind::Okta => ("okta", format!("audience: \"{AUDIENCE}\"")),
        Kind::Auth0 => ("auth0", format!("audience: \"{AUDIENCE}\"")),
        Kind::Keycloak => ("keycloak", String::new()),
        Kind::Google => ("google", endpoints),
        Kind::Cognito => ("cognito", format!("domain: \"{origin}\"")),
        Kind::Ping => ("ping", format!("audience: \"{AUDIENCE}\"")),
        Kind::Plain => ("oidc", format!("audience: \"{AUDIENCE}\", {endpoints}")),
    };
    format!(
        "authorization_server: {{ {name}: {{ client_id: {CLIENT_ID}, issuer: \"{issuer}\", {more}{} }} }}",
        if more.is_empty() || settings.is_empty() {
            settings.to_owned()
        } else {
            format!(", {settings}")
        }
    )
}

async fn world(section: &str) -> World {
    World::builder()
        .signs_in(section)
        .workload("github")
        .route("/mcp")
        .start()
        .await
}

/// A resource whose metadata names the provider itself, and that accepts what a profile accepts.
async fn world_without_profile(kind: Kind, provider: &Provider) -> World {
    let (audience, more) = match kind {
        Kind::Keycloak | Kind::Google => (CLIENT_ID, ""),
        Kind::Cognito => (
            CLIENT_ID,
            "audience_claim: client_id, claims: {token_use: access}, ",
        ),
        _ => (AUDIENCE, ""),
    };
    let (issuer, jwks) = (provider.issuer(), provider.jwks_uri());
    let identity = format!(
        "identity: {{ issuer: \"{issuer}\", audiences: [\"{audience}\"], {more}jwks_uri: \"{jwks}\", \
         scopes: [openid, email] }}"
    );
    let server = issuer.trim_end_matches('/');
    let metadata = format!(
        "{{ path: /.well-known/oauth-protected-resource/mcp, filters: [{{ protected_resource: \
         {{ resource: \"{{public}}/mcp\", authorization_servers: [\"{server}\"], \
         scopes: [openid, email] }} }}] }}"
    );
    World::builder()
        .signs_in(&identity)
        .workload("github")
        .route("/mcp")
        .yaml_route(&metadata)
        .start()
        .await
}

async fn sign_in(world: &World) -> Result<SignedIn, ClientError> {
    SignedIn::builder(format!("{}/mcp", world.public_url()))
        .person("bob")
        .connect()
        .await
}

/// Signs in through a profile, calls a tool, refreshes, and calls again; twice, since some providers
/// are generous only the first time.
async fn check(kind: Kind) {
    let provider = Provider::start(kind).await.unwrap();
    let world = world(&profile(kind, &provider)).await;
    check_in(&world, &provider).await;
}

/// The same through the gateway's own callback, as a confidential client.
async fn check_relayed(kind: Kind) {
    const SECRET: &str = "a-secret-that-nobody-guesses";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SECRET).unwrap();
    let quirks = Quirks {
        secret: Some(SECRET.to_owned()),
        // Whoever sees this `iss` sees one that is not the gateway's.
        emits_iss: true,
        ..Quirks::of(kind)
    };
    let provider = Provider::start_with(quirks).await.unwrap();
    let settings = format!(
        "authorize: relay, credentials: {{ client_secret: {{ file: \"{}\" }} }}",
        file.path().display()
    );
    let world = world(&profile_with(kind, &provider, &settings)).await;
    check_in(&world, &provider).await;
    let callback = format!("{}/oauth2/callback", world.public_url());
    let asked = provider.requests();
    let mut uris = asked
        .iter()
        .filter_map(|request| request.param("redirect_uri"));
    assert!(
        uris.all(|uri| uri == callback),
        "one redirect URI is enough"
    );
}

async fn check_in(world: &World, provider: &Provider) {
    for _ in 0..2 {
        let client = sign_in(world).await.unwrap();
        let echo = json!({"text": "hi"});
        assert_eq!(client.call_text("echo", echo.clone()).await.unwrap(), "hi");
        let before = client.bearer().await.unwrap();
        // Tokens are dated to the second; a later one differs.
        provider.clock().advance(std::time::Duration::from_secs(1));
        let Step::Redeemed {
            expires_in,
            refreshable,
        } = client.refresh().await.unwrap()
        else {
            panic!("a refresh redeems a token");
        };
        assert!(expires_in.is_some_and(|seconds| seconds > 60));
        assert!(refreshable, "a refresh token is kept");
        assert_ne!(client.bearer().await.unwrap(), before);
        assert_eq!(client.call_text("echo", echo).await.unwrap(), "hi");
        client.close().await;
    }
    let line = world
        .access_line(|line| line["status"] == 200 && line["route"] == "/mcp")
        .await;
    assert_eq!(line["user"], "user-bob");
    provider.revoke();
    let client = sign_in(world).await.unwrap();
    provider.revoke();
    assert!(client.refresh().await.is_err(), "a revoked grant is over");
}

/// Points the client straight at the provider: nobody registers it, and with a client id that
/// somebody typed in it gets this far.
async fn check_straight(kind: Kind) -> Result<SignedIn, ClientError> {
    let provider = Provider::start(kind).await.unwrap();
    let world = world_without_profile(kind, &provider).await;
    let refused = sign_in(&world).await.err().expect("nobody registers it");
    assert!(
        matches!(
            refused,
            ClientError::OAuth {
                step: "registration",
                ..
            }
        ),
        "{refused:?}"
    );
    SignedIn::builder(format!("{}/mcp", world.public_url()))
        .person("bob")
        .client_id(CLIENT_ID)
        .connect()
        .await
}

/// The token that it got does not open the resource, so that it would sign in again and again.
fn is_turned_away(straight: &Result<SignedIn, ClientError>) -> bool {
    matches!(straight, Err(ClientError::Handshake(told)) if told.contains("Auth required"))
}

#[tokio::test]
async fn okta_signs_people_in() {
    check(Kind::Okta).await;
    assert!(check_straight(Kind::Okta).await.is_ok());
}

#[tokio::test]
async fn auth0_signs_people_in() {
    check(Kind::Auth0).await;
    // Without an audience its access token is opaque.
    assert!(is_turned_away(&check_straight(Kind::Auth0).await));
}

#[tokio::test]
async fn keycloak_signs_people_in() {
    check(Kind::Keycloak).await;
    assert!(check_straight(Kind::Keycloak).await.is_ok());
}

#[tokio::test]
async fn google_signs_people_in() {
    check(Kind::Google).await;
    assert!(is_turned_away(&check_straight(Kind::Google).await));
}

#[tokio::test]
async fn cognito_signs_people_in() {
    check(Kind::Cognito).await;
    assert!(check_straight(Kind::Cognito).await.is_ok());
}

#[tokio::test]
async fn ping_signs_people_in() {
    check(Kind::Ping).await;
    assert!(check_straight(Kind::Ping).await.is_ok());
}

#[tokio::test]
async fn any_other_provider_signs_people_in() {
    check(Kind::Plain).await;
    assert!(check_straight(Kind::Plain).await.is_ok());
}

#[tokio::test]
async fn every_provider_can_be_relayed() {
    for kind in [
        Kind::Okta,
        Kind::Auth0,
        Kind::Keycloak,
        Kind::Google,
        Kind::Cognito,
        Kind::Ping,
        Kind::Plain,
    ] {
        println!("{kind:?}");
        check_relayed(kind).await;
    }
}

const CALLBACK: &str = "http://localhost:3118/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636, appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Goes from an authorization endpoint to the client's redirect URI; returns what stands there.
async fn authorize(world: &World, endpoint: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let base = [
        ("client_id", CLIENT_ID),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let mut url: String = Url::parse_with_params(endpoint, base.iter().chain(more))
        .unwrap()
        .into();
    while !url.starts_with(CALLBACK) {
        let answer = send(world.client().elsewhere(Method::GET, &url)).await;
        let location = answer.header("location").map(str::to_owned);
        url = location.unwrap_or_else(|| panic!("stuck: {answer:?}"));
    }
    Url::parse(&url)
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect()
}

fn find<'p>(pairs: &'p [(String, String)], name: &str) -> Option<&'p str> {
    let pair = pairs.iter().find(|(found, _)| found == name)?;
    Some(&pair.1)
}

/// Signs in and returns the whole token answer.
async fn tokens(
    world: &World,
    [authorization_endpoint, token_endpoint]: [&str; 2],
    more: &[(&str, &str)],
) -> Value {
    let pairs = authorize(world, authorization_endpoint, more).await;
    let form = [
        ("client_id", CLIENT_ID),
        ("grant_type", "authorization_code"),
        ("code", find(&pairs, "code").unwrap()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let request = world.client().elsewhere(Method::POST, token_endpoint);
    let answer = send(request.form(&form)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn google_gives_a_refresh_token_to_clients_that_know_nothing_of_google() {
    let provider = Provider::start(Kind::Google).await.unwrap();
    let world = world(&profile(Kind::Google, &provider)).await;
    let straight = [provider.authorization_endpoint(), provider.token_endpoint()];
    let through = ["/oauth2/authorize", "/oauth2/token"].map(|path| world.url(path));
    let asked = [("scope", "openid email offline_access")];

    let refused = authorize(&world, &straight[0], &asked).await;
    assert_eq!(find(&refused, "error"), Some("invalid_scope"));
    let straight = [straight[0].as_str(), &straight[1]];
    let bare = tokens(&world, straight, &[("scope", "openid email")]).await;
    assert!(bare.get("refresh_token").is_none(), "{bare}");

    for _ in 0..2 {
        let cured = tokens(&world, [&through[0], &through[1]], &asked).await;
        assert!(cured["refresh_token"].is_string(), "{cured}");
        assert_eq!(cured["scope"], "openid email");
        assert_eq!(cured["access_token"], cured["id_token"]);
    }
}

#[tokio::test]
async fn a_resource_that_a_provider_refuses_is_no_obstacle() {
    let quirks = Quirks {
        refuses_resource: true,
        ..Quirks::of(Kind::Plain)
    };
    let provider = Provider::start_with(quirks).await.unwrap();
    let world = world(&profile(Kind::Plain, &provider)).await;
    let asked = [
        ("scope", "openid"),
        ("resource", "https://mcp.example.com/mcp"),
    ];
    let refused = authorize(&world, &provider.authorization_endpoint(), &asked).await;
    assert_eq!(find(&refused, "error"), Some("invalid_target"));
    let cured = authorize(&world, &world.url("/oauth2/authorize"), &asked).await;
    assert!(find(&cured, "code").is_some());
    sign_in(&world).await.unwrap();
}

/// Otherwise a client presents it, is refused, and signs in again, without end.
#[tokio::test]
async fn a_token_that_would_open_nothing_is_not_handed_out() {
    let quirks = Quirks {
        access: Access::Opaque,
        ..Quirks::of(Kind::Okta)
    };
    let elsewhere = Quirks {
        access: Access::Jwt("https://elsewhere.example"),
        ..Quirks::of(Kind::Okta)
    };
    for (quirks, says) in [(quirks, "not a JWT"), (elsewhere, "for another API")] {
        let provider = Provider::start_with(quirks).await.unwrap();
        let world = world(&profile(Kind::Okta, &provider)).await;
        let pairs = authorize(&world, &world.url("/oauth2/authorize"), &[]).await;
        let form = [
            ("client_id", CLIENT_ID),
            ("grant_type", "authorization_code"),
            ("code", find(&pairs, "code").unwrap()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        let answer = world.post_form("/oauth2/token", &form).await;
        assert_eq!((answer.status, &*answer.error()), (502, "server_error"));
        assert!(answer.body.contains(says), "{answer:?}");
    }
}

#[tokio::test]
async fn clients_that_insist_on_pkce_may_use_cognito() {
    let provider = Provider::start(Kind::Cognito).await.unwrap();
    let world = world(&profile(Kind::Cognito, &provider)).await;
    let own = format!("{}/.well-known/openid-configuration", provider.issuer());
    let own = send(world.client().elsewhere(Method::GET, &own)).await;
    let methods = "code_challenge_methods_supported";
    assert!(own.json().get(methods).is_none());
    let published = world.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(published.json()[methods], json!(["S256"]));
}

/// Presents a token with claims changed, and returns the status.
async fn present(world: &World, provider: &Provider, claims: Value) -> u16 {
    let token = provider.sign(&claims);
    let initialize = mcp::initialize();
    let answer = world.rpc("/mcp", Some(&token), None, &initialize);
    answer.await.status
}

fn claims(provider: &Provider, more: &Value) -> Value {
    let now = provider.clock().now();
    let mut claims = json!({
        "iss": provider.issuer(), "sub": "user-bob", "iat": now, "exp": now + 600,
    });
    let object = claims.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    claims
}

#[tokio::test]
async fn a_token_of_cognito_is_one_of_our_client_and_of_the_right_kind() {
    let provider = Provider::start(Kind::Cognito).await.unwrap();
    let world = world(&profile(Kind::Cognito, &provider)).await;
    for (more, expect) in [
        (json!({"client_id": CLIENT_ID, "token_use": "access"}), 200),
        (json!({"client_id": "another", "token_use": "access"}), 401),
        (json!({"client_id": CLIENT_ID, "token_use": "id"}), 401),
        (json!({"client_id": CLIENT_ID}), 401),
        (json!({"aud": CLIENT_ID, "token_use": "access"}), 401),
        (json!({"aud": CLIENT_ID, "token_use": "id"}), 401),
    ] {
        let claims = claims(&provider, &more);
        assert_eq!(present(&world, &provider, claims).await, expect, "{more}");
    }
}

#[tokio::test]
async fn an_id_token_of_keycloak_is_no_access_token() {
    let provider = Provider::start(Kind::Keycloak).await.unwrap();
    let world = world(&profile(Kind::Keycloak, &provider)).await;
    for (more, expect) in [
        (json!({"aud": [CLIENT_ID, "account"], "typ": "Bearer"}), 200),
        (json!({"aud": CLIENT_ID, "typ": "ID"}), 401),
        (
            json!({"aud": "account", "azp": CLIENT_ID, "typ": "Bearer"}),
            401,
        ),
        (
            json!({"aud": CLIENT_ID, "typ": "Bearer", "iss": "https://id.test"}),
            401,
        ),
    ] {
        let claims = claims(&provider, &more);
        assert_eq!(present(&world, &provider, claims).await, expect, "{more}");
    }
}

#[tokio::test]
async fn a_gateway_starts_while_its_provider_cannot_be_reached() {
    let socket = crate::world::reserve();
    let nobody = socket.local_addr().unwrap();
    drop(socket);
    let section = format!(
        "authorization_server: {{ okta: {{ client_id: {CLIENT_ID}, audience: a, \
         issuer: \"http://{nobody}/oauth2/default\" }} }}"
    );
    let world = World::builder()
        .signs_in(&section)
        .entra_down()
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let published = world.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(published.status, 200);
    let registration = json!({"redirect_uris": [CALLBACK]});
    let registered = world.post_json("/register", &registration).await;
    assert_eq!(registered.json()["client_id"], CLIENT_ID);
}
