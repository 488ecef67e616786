//! The metadata, the keys, and what any endpoint can be told to do wrong.

use std::time::Duration;

use mcp_gateway_emulator::entra::{Endpoint, Entra, Fault};
use serde_json::Value;

use super::{code, entra, redeem, refuses};
use crate::http::{client, send};

#[tokio::test]
async fn documents_lack_what_entras_lack() {
    let entra = entra().await;
    let base = entra.authority();
    let tenant = entra.tenant();
    let path = "v2.0/.well-known/openid-configuration";
    let document = send(client().get(format!("{base}/{tenant}/{path}"))).await;
    assert_eq!(
        document.header("cache-control"),
        Some("max-age=86400, private")
    );
    let document = document.json();
    assert_eq!(document["issuer"], entra.issuer());
    assert_eq!(document["jwks_uri"], entra.jwks_uri());
    for absent in ["registration_endpoint", "code_challenge_methods_supported"] {
        assert!(document.get(absent).is_none());
    }
    let common = send(client().get(format!("{base}/common/{path}")))
        .await
        .json();
    assert_eq!(common["issuer"], format!("{base}/{{tenantid}}/v2.0"));
    let unknown = send(client().get(format!("{base}/nowhere/{path}"))).await;
    refuses(&unknown, 400, "invalid_tenant", 90_002);

    let keys = send(client().get(entra.jwks_uri())).await.json();
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        assert!(key.get("alg").is_none());
        assert_eq!(key["x5t"], key["kid"]);
        assert_eq!(key["issuer"], entra.issuer());
    }
    for missing in [
        ".well-known/oauth-authorization-server".to_owned(),
        format!(".well-known/oauth-authorization-server/{tenant}/v2.0"),
        format!(".well-known/openid-configuration/{tenant}/v2.0"),
        format!("{tenant}/v2.0/.well-known/oauth-authorization-server"),
        "register".to_owned(),
        format!("{tenant}/v2.0/register"),
    ] {
        let seen = send(client().get(format!("{base}/{missing}"))).await;
        assert_eq!((seen.status, seen.body.as_str()), (404, ""), "{missing}");
    }
}

async fn key_ids(entra: &Entra) -> Vec<String> {
    let keys = send(client().get(entra.jwks_uri())).await.json();
    let keys = keys["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn keys_roll_over_gently_or_all_at_once() {
    let entra = entra().await;
    let before = key_ids(&entra).await;
    entra.roll_signing_key();
    let rolled = key_ids(&entra).await;
    assert_eq!(before.iter().filter(|kid| rolled.contains(kid)).count(), 1);
    entra.rotate_keys();
    let rotated = key_ids(&entra).await;
    assert!(!rolled.iter().any(|kid| rotated.contains(kid)));
}

#[tokio::test]
async fn gzip_is_sent_to_those_who_accept_it() {
    let entra = entra().await;
    let post = || {
        client()
            .post(entra.token_endpoint())
            .form(&[("grant_type", "x")])
    };
    let plain = send(post()).await;
    assert!(plain.header("content-encoding").is_none());
    for (accepted, packed) in [("gzip, br", true), ("gzip;q=0", false), ("identity", false)] {
        let request = post().header("accept-encoding", accepted);
        let response = request.send().await.unwrap();
        let encoding = response.headers().get("content-encoding").cloned();
        assert_eq!(encoding.is_some(), packed, "{accepted}");
        let body = response.bytes().await.unwrap();
        assert_eq!(body.starts_with(&[0x1f, 0x8b]), packed);
    }
}

#[tokio::test]
async fn faults_do_what_they_say() {
    let entra = entra().await;
    let post = || {
        client()
            .post(entra.token_endpoint())
            .form(&[("grant_type", "x")])
    };
    let unavailable = Fault::Unavailable {
        status: 503,
        retry_after: Some(7),
    };
    entra.fail(Endpoint::Token, unavailable, 1);
    let seen = send(post()).await;
    refuses(&seen, 503, "temporarily_unavailable", 90_033);
    assert_eq!(seen.header("retry-after"), Some("7"));

    entra.fail(Endpoint::Token, Fault::Refuse, 1);
    post().send().await.unwrap_err();
    entra.fail(Endpoint::Token, Fault::Truncated, 1);
    let cut = post().send().await.unwrap();
    cut.text().await.unwrap_err();
    entra.fail(Endpoint::Token, Fault::HalfJson, 1);
    let half = send(post()).await;
    serde_json::from_str::<Value>(&half.body).unwrap_err();
    entra.fail(Endpoint::Token, Fault::NotJson, 1);
    assert_eq!(send(post()).await.status, 200);
    entra.fail(Endpoint::Token, Fault::Chunked, 1);
    let chunked = send(post()).await;
    assert_eq!(chunked.header("transfer-encoding"), Some("chunked"));
    entra.fail(Endpoint::Token, Fault::Gzip, 1);
    assert_eq!(send(post()).await.header("content-encoding"), Some("gzip"));
    entra.fail(Endpoint::Token, Fault::Padded(70_000), 1);
    assert!(send(post()).await.body.len() > 70_000);
    entra.fail(
        Endpoint::Token,
        Fault::SlowBody(Duration::from_millis(50)),
        1,
    );
    refuses(&send(post()).await, 400, "invalid_request", 900_144);

    let code = code(&entra, &[]).await;
    entra.fail(Endpoint::Token, Fault::NoIdToken, 1);
    let tokens = redeem(&entra, &code, &[]).await.json();
    assert!(tokens["access_token"].is_string() && tokens.get("id_token").is_none());

    entra.stop().await;
    assert!(post().send().await.unwrap_err().is_connect());
    entra.start().unwrap();
    assert_eq!(send(post()).await.status, 400);
}
