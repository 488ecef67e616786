//! What clients read before anybody signs in: Entra's metadata, and what it leaves out.

use mcp_gateway_emulator::entra::{CLIENT_ID, Endpoint};
use reqwest::Method;
use serde_json::{Value, json};

use super::{signs_in, with_one_app};
use crate::{
    oauth::flow::{CALLBACK, Flow, find, query},
    world::{Answer, World, send},
};

const SERVER: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

async fn fetch(world: &World, url: &str) -> Answer {
    send(world.client().elsewhere(Method::GET, url)).await
}

/// Entra's own document.
async fn entra(world: &World) -> Value {
    let (authority, tenant) = (world.entra.authority(), world.entra.tenant());
    let answer = fetch(world, &format!("{authority}/{tenant}/v2.0{OPENID}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// What a strict client does with metadata that it asked this server for: the first reason not to
/// open a browser.
fn gives_up(server: &str, metadata: &Value) -> Option<&'static str> {
    let methods = metadata["code_challenge_methods_supported"].as_array();
    if metadata["issuer"] != server {
        Some("issuer")
    } else if !methods.is_some_and(|methods| methods.contains(&json!("S256"))) {
        Some("S256")
    } else if !metadata["registration_endpoint"].is_string() {
        Some("registration")
    } else {
        None
    }
}

/// The gateway's document, with which no client gives up.
async fn gateway(world: &World, path: &str) -> Value {
    let answer = world.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let metadata = answer.json();
    assert_eq!(gives_up(world.public_url(), &metadata), None, "{metadata}");
    metadata
}

/// A parameter of metadata, as a path of the gateway.
fn path<'m>(world: &World, metadata: &'m Value, member: &str) -> &'m str {
    let url = metadata[member].as_str().unwrap();
    url.strip_prefix(world.public_url()).unwrap()
}

/// always: `register_client`
#[tokio::test]
async fn trouble_01_a_client_that_has_to_register() {
    let world = World::usual().await;
    let straight = entra(&world).await;
    assert!(straight.get("registration_endpoint").is_none());
    let guess = format!("{}/register", world.entra.authority());
    let body = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"});
    let request = world.client().elsewhere(Method::POST, &guess).json(&body);
    assert_eq!(send(request).await.status, 404);

    let metadata = gateway(&world, SERVER).await;
    let endpoint = path(&world, &metadata, "registration_endpoint");
    let registered = world.post_json(endpoint, &body).await;
    assert_eq!(registered.status, 201, "{registered:?}");
    let client = registered.json();
    assert!(client.get("client_secret").is_none());
    signs_in(
        &world,
        &[("client_id", client["client_id"].as_str().unwrap())],
    )
    .await;
}

/// always: `respond` with metadata of the gateway's own
#[tokio::test]
async fn trouble_02_metadata_that_does_not_mention_pkce() {
    let world = World::usual().await;
    let straight = entra(&world).await;
    let issuer = straight["issuer"].as_str().unwrap();
    assert_eq!(gives_up(issuer, &straight), Some("S256"), "{straight}");
    gateway(&world, OPENID).await;
    signs_in(&world, &[]).await;
}

/// always: `respond` with metadata of the gateway's own
#[tokio::test]
async fn trouble_03_a_client_that_never_opens_the_browser() {
    let world = World::usual().await;
    let straight = entra(&world).await;
    let issuer = straight["issuer"].as_str().unwrap();
    assert!(gives_up(issuer, &straight).is_some(), "{straight}");
    // Such a client goes where the document leads, and nowhere else.
    let metadata = gateway(&world, SERVER).await;
    let flow = Flow::through_gateway(&world)
        .with_authorize_path(path(&world, &metadata, "authorization_endpoint"))
        .with_token_path(path(&world, &metadata, "token_endpoint"));
    let tokens = flow.tokens().await;
    let token = tokens["access_token"].as_str().unwrap();
    world.session("/mcp", token).await;
}

/// always: metadata at each address
#[tokio::test]
async fn trouble_38_metadata_is_not_where_clients_look() {
    let world = with_one_app().await;
    let base = world.entra.authority();
    let tenant = world.entra.tenant();
    for name in [SERVER, OPENID] {
        // The well-known name goes between host and path (RFC 8414, section 3.1).
        let inserted = fetch(&world, &format!("{base}{name}/{tenant}/v2.0")).await;
        assert_eq!(inserted.status, 404, "{inserted:?}");
        for at in [
            name.to_owned(),
            format!("{name}/mcp"),
            format!("/mcp{name}"),
        ] {
            gateway(&world, &at).await;
        }
    }
}

/// always: `/authorize`, `/token` and `/register` work, too
#[tokio::test]
async fn trouble_39_a_client_that_guesses_finds_every_endpoint() {
    let world = World::usual().await;
    for guess in ["/authorize", "/token", "/register"] {
        let answer = fetch(&world, &format!("{}{guess}", world.entra.authority())).await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    let body = json!({"redirect_uris": [CALLBACK]});
    assert_eq!(world.post_json("/register", &body).await.status, 201);
    let flow = Flow::through_gateway(&world).with_authorize_path("/authorize");
    let tokens = flow.with_token_path("/token").tokens().await;
    let token = tokens["access_token"].as_str().unwrap();
    world.session("/mcp", token).await;
}

/// always: the gateway leads to the endpoints of v2.0
#[tokio::test]
async fn trouble_51_a_client_that_found_the_endpoints_of_version_1() {
    let world = World::usual().await;
    let tenant = format!("{}/{}", world.entra.authority(), world.entra.tenant());
    let old = fetch(&world, &format!("{tenant}{OPENID}")).await.json();
    let flow = Flow::through_gateway(&world);
    let asked = flow.authorization_url(&[]);
    let query_of_it = asked.split_once('?').unwrap().1;
    let endpoint = old["authorization_endpoint"].as_str().unwrap();
    let lost = fetch(&world, &format!("{endpoint}?{query_of_it}")).await;
    assert!(lost.header("location").is_none(), "{lost:?}");

    let metadata = gateway(&world, OPENID).await;
    assert_ne!(metadata["authorization_endpoint"], *endpoint);
    let onward = flow.authorize(&[]).await;
    let location = onward.header("location").unwrap();
    assert!(location.starts_with(&world.entra.authorization_endpoint()));
    assert_eq!(find(&query(location), "client_id"), Some(CLIENT_ID));
    signs_in(&world, &[]).await;
    let requests = world.entra.requests_to(Endpoint::Token);
    assert!(requests.iter().all(|it| it.path.contains("/v2.0/")));
}
