//! The token endpoint: codes and refresh tokens.

use std::time::Duration;

use mcp_gateway_emulator::entra::{API_SCOPE, CLIENT_ID};

use super::{CHALLENGE, SPA, WEB, claims, code, entra, merge, redeem, refresh, refuses};
use crate::http::{client, send};

#[tokio::test]
async fn tokens_are_for_whom_they_say() {
    let entra = entra().await;
    let code = code(&entra, &[("nonce", "n-1"), ("login_hint", "alice")]).await;
    let seen = redeem(&entra, &code, &[]).await;
    assert_eq!(seen.status, 200);
    assert_eq!(seen.header("cache-control"), Some("no-store, no-cache"));
    assert_eq!(seen.headers.get_all("set-cookie").iter().count(), 4);
    let tokens = seen.json();
    assert_eq!(tokens["scope"], "User.Read openid profile");
    let lifetime = tokens["expires_in"].as_i64().unwrap();
    assert!((3_599..5_399).contains(&lifetime));

    let id = claims(&tokens["id_token"]);
    assert_eq!(id["aud"], CLIENT_ID);
    assert_eq!(id["iss"], entra.issuer());
    assert_eq!(id["nonce"], "n-1");
    assert_eq!(id["groups"].as_array().unwrap().len(), 2);
    assert_eq!(
        id["exp"].as_i64().unwrap() - id["iat"].as_i64().unwrap(),
        3_900
    );
    let access = claims(&tokens["access_token"]);
    assert_eq!(access["aud"], "00000003-0000-0000-c000-000000000000");
    assert_eq!(access["scp"], "User.Read");
    assert_ne!(access["sub"], id["sub"]);
}

#[tokio::test]
async fn an_id_token_needs_openid_and_a_refresh_token_offline_access() {
    let entra = entra().await;
    for (scope, id, refresh) in [
        ("User.Read", false, false),
        ("openid", true, false),
        ("offline_access User.Read", false, true),
    ] {
        let code = code(&entra, &[("scope", scope)]).await;
        let tokens = redeem(&entra, &code, &[]).await.json();
        assert_eq!(tokens.get("id_token").is_some(), id, "{scope}");
        assert_eq!(tokens.get("refresh_token").is_some(), refresh, "{scope}");
    }
}

#[tokio::test]
async fn a_code_is_refused_for_every_thing_that_is_wrong_with_it() {
    let entra = entra().await;
    for (changes, status, error, number) in [
        (&[("grant_type", "")][..], 400, "invalid_request", 900_144),
        (
            &[("grant_type", "password")],
            400,
            "unsupported_grant_type",
            70_003,
        ),
        (&[("client_id", "")], 400, "invalid_request", 900_144),
        (&[("client_id", "x")], 400, "unauthorized_client", 700_016),
        (&[("client_secret", "s")], 401, "invalid_client", 700_025),
        (
            &[("resource", "https://localhost:8443/mcp")],
            400,
            "invalid_target",
            9_010_010,
        ),
        (&[("code", "")], 400, "invalid_request", 900_144),
        (&[("code", "garbled")], 400, "invalid_grant", 9_002_313),
        (
            &[("redirect_uri", "http://localhost:1/callback")],
            400,
            "invalid_client",
            500_112,
        ),
        (&[("code_verifier", "")], 400, "invalid_grant", 50_148),
        (
            &[("code_verifier", CHALLENGE)],
            400,
            "invalid_grant",
            501_481,
        ),
        (&[("scope", "Mail.Read")], 400, "invalid_grant", 65_001),
    ] {
        let code = code(&entra, &[]).await;
        refuses(&redeem(&entra, &code, changes).await, status, error, number);
    }
    let code = code(&entra, &[]).await;
    assert_eq!(redeem(&entra, &code, &[]).await.status, 200);
    refuses(
        &redeem(&entra, &code, &[]).await,
        400,
        "invalid_grant",
        54_005,
    );
}

#[tokio::test]
async fn a_code_expires() {
    let entra = entra().await;
    let code = code(&entra, &[]).await;
    entra.clock().advance(Duration::from_secs(700));
    refuses(
        &redeem(&entra, &code, &[]).await,
        400,
        "invalid_grant",
        70_008,
    );
}

#[tokio::test]
async fn only_a_form_that_is_posted_is_read() {
    let entra = entra().await;
    let seen = send(client().get(entra.token_endpoint())).await;
    refuses(&seen, 400, "invalid_request", 900_561);
    let json = client()
        .post(entra.token_endpoint())
        .json(&serde_json::json!({}));
    refuses(&send(json).await, 400, "invalid_request", 900_144);
}

#[tokio::test]
async fn an_origin_is_for_scripts_in_a_browser_alone() {
    let entra = entra().await;
    let token = client().post(entra.token_endpoint());
    let native = code(&entra, &[]).await;
    let form = [
        ("client_id", CLIENT_ID),
        ("grant_type", "authorization_code"),
        ("code", &native),
    ];
    let seen = send(token.header("origin", "http://localhost:9").form(&form)).await;
    refuses(&seen, 400, "invalid_request", 9_002_326);

    let spa = [("client_id", SPA), ("code", "any")];
    let seen = redeem(&entra, "any", &spa).await;
    refuses(&seen, 400, "invalid_request", 9_002_327);
}

#[tokio::test]
async fn a_confidential_client_must_present_its_secret() {
    let entra = entra().await;
    let web = [("client_id", WEB), ("code", "any")];
    let seen = redeem(&entra, "any", &web).await;
    refuses(&seen, 401, "invalid_client", 7_000_218);
    let wrong = merge(&web, &[("client_secret", "wrong")]);
    refuses(
        &redeem(&entra, "any", &wrong).await,
        401,
        "invalid_client",
        7_000_215,
    );
    let right = merge(&web, &[("client_secret", "secret")]);
    refuses(
        &redeem(&entra, "any", &right).await,
        400,
        "invalid_grant",
        9_002_313,
    );
}

#[tokio::test]
async fn a_refresh_token_is_replaced_and_stays_good() {
    let entra = entra().await;
    let code = code(&entra, &[]).await;
    let first = redeem(&entra, &code, &[]).await.json();
    let token = first["refresh_token"].as_str().unwrap();
    let second = refresh(&entra, token, &[]).await.json();
    assert!(second["id_token"].is_string());
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    assert_eq!(refresh(&entra, token, &[]).await.status, 200);
    let without_openid = refresh(&entra, token, &[("scope", "User.Read")])
        .await
        .json();
    assert!(without_openid.get("id_token").is_none());
    let resource = [("resource", "https://localhost:8443/mcp")];
    refuses(
        &refresh(&entra, token, &resource).await,
        400,
        "invalid_target",
        9_010_010,
    );
    entra.revoke_refresh_tokens();
    refuses(
        &refresh(&entra, token, &[]).await,
        400,
        "invalid_grant",
        50_173,
    );
}

#[tokio::test]
async fn an_application_may_refresh_a_token_for_itself_by_guid_only() {
    let entra = entra().await;
    let uri = format!("openid offline_access api://{CLIENT_ID}/{API_SCOPE}");
    let guid = format!("openid offline_access {CLIENT_ID}/{API_SCOPE}");
    let code = code(&entra, &[("scope", &uri)]).await;
    let tokens = redeem(&entra, &code, &[]).await.json();
    assert_eq!(tokens["scope"], format!("api://{CLIENT_ID}/{API_SCOPE}"));
    let access = claims(&tokens["access_token"]);
    assert_eq!(
        (&access["aud"], &access["scp"]),
        (&CLIENT_ID.into(), &API_SCOPE.into())
    );
    let token = tokens["refresh_token"].as_str().unwrap();
    refuses(
        &refresh(&entra, token, &[]).await,
        400,
        "invalid_request",
        90_009,
    );
    let seen = refresh(&entra, token, &[("scope", &uri)]).await;
    refuses(&seen, 400, "invalid_request", 90_009);
    assert_eq!(
        refresh(&entra, token, &[("scope", &guid)]).await.status,
        200
    );
}

#[tokio::test]
async fn one_token_is_for_one_api() {
    let entra = entra().await;
    let two = format!("User.Read api://{CLIENT_ID}/{API_SCOPE}");
    let code = code(&entra, &[("scope", &two)]).await;
    let seen = redeem(&entra, &code, &[("scope", &two)]).await;
    refuses(&seen, 400, "invalid_request", 28_000);
}
