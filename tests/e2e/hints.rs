//! What Entra refuses: told to the client with a remedy, to the operator by number.

use mcp_gateway_emulator::entra::{CLIENT_ID, Platform};
use reqwest::Method;
use serde_json::Value;

use crate::world::{Answer, World, log, send};

const CALLBACK: &str = "http://localhost:3118/callback";

/// Redeems a code that never was, at a token endpoint.
async fn redeem(world: &World, url: &str) -> Answer {
    let form = [
        ("client_id", CLIENT_ID),
        ("grant_type", "authorization_code"),
        ("code", "x"),
        ("redirect_uri", CALLBACK),
        ("code_verifier", &"v".repeat(43)),
        ("scope", "openid offline_access"),
    ];
    send(world.client().elsewhere(Method::POST, url).form(&form)).await
}

async fn web() -> World {
    World::builder()
        .entra(|entra| entra.redirects(vec![(Platform::Web, CALLBACK.to_owned())]))
        .workload("github")
        .route("/mcp")
        .start()
        .await
}

async fn status(world: &World) -> Value {
    let url = format!("http://{}/status", world.admin());
    send(world.client().elsewhere(Method::GET, &url))
        .await
        .json()
}

#[tokio::test]
async fn a_known_refusal_says_what_to_do_behind_entras_own_words() {
    let world = web().await;
    let straight = redeem(&world, &world.entra.token_endpoint()).await;
    let through = redeem(&world, &world.url("/oauth2/token")).await;
    assert_eq!(through.status, straight.status);
    let (own, told) = (straight.json(), through.json());
    for member in ["error", "error_codes", "error_uri"] {
        assert_eq!(told[member], own[member], "{member}");
    }
    assert!(told["trace_id"].is_string() && told["correlation_id"].is_string());
    let text = told["error_description"].as_str().unwrap();
    let (before, hint) = text.split_once(" [gateway: ").unwrap();
    assert!(before.starts_with("AADSTS7000218: "), "{text}");
    // Entra's own words are whole: a trace id, a correlation id and a time end them.
    assert!(
        before.contains("Trace ID: ") && before.ends_with('Z'),
        "{text}"
    );
    assert!(hint.contains("registered as `Web`"), "{text}");
    assert!(
        hint.bytes()
            .all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    );
}

#[tokio::test]
async fn what_is_refused_is_counted_and_shown_to_operators() {
    let world = web().await;
    for _ in 0..3 {
        assert_eq!(
            redeem(&world, &world.url("/oauth2/token")).await.status,
            401
        );
    }
    let count = world.count("gateway_provider_errors_total{aadsts=\"7000218\"}");
    assert_eq!(count, 3);
    let status = status(&world).await;
    let server = &status["authorization_server"];
    let [error] = server["errors"].as_array().unwrap().as_slice() else {
        panic!("{server}");
    };
    assert_eq!(error["code"], "AADSTS7000218");
    assert_eq!(error["count"], 3);
    assert_eq!(error["must_act"], true);
    assert!(
        error["remedy"]
            .as_str()
            .unwrap()
            .contains("Mobile and desktop")
    );
    assert!(
        server["keys"]["age_seconds"]
            .as_u64()
            .is_some_and(|age| age < 3600)
    );
    assert!(
        status["open_files_limit"]
            .as_u64()
            .is_some_and(|limit| limit > 0)
    );
    let text = status.to_string();
    assert!(!text.contains("Trace ID"), "{text}");
}

#[tokio::test]
async fn the_log_names_the_number_and_none_of_entras_words() {
    let world = web().await;
    redeem(&world, &world.url("/oauth2/token")).await;
    let text = log::text();
    let line = text.lines().find(|line| line.contains("aadsts=7000218"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.starts_with("WARN "), "{line}");
    assert!(line.contains("remedy=move it to"), "{line}");
    assert!(!text.contains("Trace ID"));
    assert!(!text.contains("client_assertion' or"));
}

#[tokio::test]
async fn the_certificate_is_in_the_status() {
    let world = World::builder().tls().start().await;
    let status = status(&world).await;
    let days = &status["certificates"]["localhost"]["days_left"];
    assert!(days.as_u64().is_some_and(|days| days > 1000), "{status}");
}
