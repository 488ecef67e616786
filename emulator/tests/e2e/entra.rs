//! The tenant's two endpoints, refusal by refusal, in the order in which Entra refuses.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_gateway_emulator::entra::{
    API_SCOPE, App, Builder, CLIENT_ID, Endpoint, Entra, Fault, Platform, ResourceMode,
};
use serde_json::Value;
use std::time::Duration;
use url::Url;

use crate::http::{Seen, client, send};

const CALLBACK: &str = "http://localhost:3118/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636, appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const WEB: &str = "11111111-0000-4000-8000-000000000001";
const SPA: &str = "11111111-0000-4000-8000-000000000002";
const BARE: &str = "11111111-0000-4000-8000-000000000003";

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn builder() -> Builder {
    Entra::builder()
        .app(
            App::new(WEB, "Web")
                .redirect(Platform::Web, "https://web.example/cb")
                .secret("secret"),
        )
        .app(App::new(SPA, "Spa").redirect(Platform::Spa, "http://localhost:1/spa"))
        .app(App::new(BARE, "Bare"))
}

async fn entra() -> Entra {
    builder().start().await.unwrap()
}

/// Replaces, adds (`name`), or removes (an empty value) parameters.
fn merge<'a>(base: Pairs<'a>, changes: Pairs<'a>) -> Vec<(&'a str, &'a str)> {
    let mut merged: Vec<_> = base
        .iter()
        .copied()
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name))
        .collect();
    merged.extend(
        changes
            .iter()
            .copied()
            .filter(|(_, value)| !value.is_empty()),
    );
    merged
}

const REQUEST: Pairs<'static> = &[
    ("client_id", CLIENT_ID),
    ("response_type", "code"),
    ("redirect_uri", CALLBACK),
    ("scope", "openid profile offline_access User.Read"),
    ("state", "a/b+c=d e"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

fn with_query(url: &str, pairs: Pairs<'_>) -> Url {
    Url::parse_with_params(url, pairs).unwrap()
}

async fn authorize(entra: &Entra, changes: Pairs<'_>) -> Seen {
    let url = entra.authorization_endpoint();
    send(client().get(with_query(&url, &merge(REQUEST, changes)))).await
}

fn pairs(seen: &Seen) -> std::collections::HashMap<String, String> {
    let location = seen
        .header("location")
        .unwrap_or_else(|| panic!("{seen:?}"));
    Url::parse(location)
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect()
}

async fn code(entra: &Entra, changes: Pairs<'_>) -> String {
    pairs(&authorize(entra, changes).await)
        .remove("code")
        .unwrap()
}

async fn redeem(entra: &Entra, code: &str, changes: Pairs<'_>) -> Seen {
    let base = [
        ("client_id", CLIENT_ID),
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    send(
        client()
            .post(entra.token_endpoint())
            .form(&merge(&base, changes)),
    )
    .await
}

async fn refresh(entra: &Entra, token: &str, changes: Pairs<'_>) -> Seen {
    let base = [
        ("client_id", CLIENT_ID),
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
    ];
    send(
        client()
            .post(entra.token_endpoint())
            .form(&merge(&base, changes)),
    )
    .await
}

fn claims(token: &Value) -> Value {
    let token = token.as_str().unwrap();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[track_caller]
fn shows_page(seen: &Seen, code: u32) {
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(
        seen.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        seen.body.contains(&format!("\"iErrorCode\":{code},")),
        "{code}: {}",
        seen.body
    );
    assert!(seen.body.contains(&format!("AADSTS{code}: ")));
}

#[track_caller]
fn redirects_with(seen: &Seen, error: &str, code: u32) {
    assert_eq!(seen.status, 302, "{seen:?}");
    let pairs = pairs(seen);
    assert_eq!(pairs["error"], error);
    assert!(
        pairs["error_description"].starts_with(&format!("AADSTS{code}: ")),
        "{pairs:?}"
    );
    assert!(pairs["error_description"].contains("Trace ID: "));
    assert_eq!(pairs["state"], "a/b+c=d e");
}

#[track_caller]
fn refuses(seen: &Seen, status: u16, error: &str, code: u32) {
    assert_eq!(seen.status, status, "{seen:?}");
    let body = seen.json();
    assert_eq!(body["error"], error);
    assert_eq!(body["error_codes"], serde_json::json!([code]));
    let description = body["error_description"].as_str().unwrap();
    assert!(description.starts_with(&format!("AADSTS{code}: ")));
}

#[tokio::test]
async fn what_cannot_be_redirected_is_shown() {
    let entra = entra().await;
    let api = format!("api://{CLIENT_ID}");
    for (changes, code) in [
        (&[("client_id", "")][..], 900_144),
        (
            &[("client_id", "00000000-1111-2222-3333-444444444444")],
            700_016,
        ),
        (&[("client_id", BARE)], 900_971),
        (&[("redirect_uri", "callback")], 90_102),
        (&[("redirect_uri", "http://localhost:3118/other")], 50_011),
        (&[("redirect_uri", "https://evil.example/callback")], 50_011),
        (&[("scope", "")], 900_144),
        (&[("scope", ""), ("resource", &api)], 900_144),
    ] {
        shows_page(&authorize(&entra, changes).await, code);
    }
    let url = format!(
        "{}/nowhere.example/oauth2/v2.0/authorize",
        entra.authority()
    );
    shows_page(&send(client().get(with_query(&url, REQUEST))).await, 90_002);
}

#[tokio::test]
async fn a_repeated_parameter_is_shown_before_anything_else() {
    let entra = entra().await;
    let mut query = REQUEST.to_vec();
    query.extend([
        ("prompt", "login"),
        ("prompt", "consent"),
        ("client_id", ""),
    ]);
    let url = entra.authorization_endpoint();
    let seen = send(client().get(with_query(&url, &query))).await;
    shows_page(&seen, 9_000_411);
}

#[tokio::test]
async fn every_other_refusal_is_a_redirect() {
    let entra = entra().await;
    let other = format!("api://{CLIENT_ID}/nothing");
    let both = format!("api://{CLIENT_ID}/.default api://{CLIENT_ID}/{API_SCOPE}");
    for (changes, error, code) in [
        (
            &[("response_type", "token")][..],
            "unsupported_response_type",
            70_005,
        ),
        (
            &[("response_type", "code id_token")],
            "unsupported_response_type",
            700_054,
        ),
        (
            &[("response_mode", "web_message")],
            "unsupported_response_mode",
            70_007,
        ),
        (
            &[("prompt", "select_account consent")],
            "invalid_request",
            90_023,
        ),
        (&[("prompt", "create")], "invalid_request", 90_023),
        (&[("code_challenge", "short")], "invalid_request", 501_491),
        (&[("scope", "openid mcp.read")], "invalid_client", 650_053),
        (&[("scope", &other)], "invalid_client", 650_053),
        (
            &[("scope", "https://nowhere.example/mcp/x")],
            "invalid_resource",
            500_011,
        ),
        (&[("scope", &both)], "invalid_scope", 70_011),
    ] {
        redirects_with(&authorize(&entra, changes).await, error, code);
    }
    let spa = [
        ("client_id", SPA),
        ("redirect_uri", "http://localhost:1/spa"),
        ("code_challenge", ""),
    ];
    redirects_with(&authorize(&entra, &spa).await, "invalid_request", 9_002_325);
}

#[tokio::test]
async fn a_resource_must_fit_the_scopes() {
    let entra = entra().await;
    let (uri, scope) = (
        format!("api://{CLIENT_ID}"),
        format!("api://{CLIENT_ID}/{API_SCOPE}"),
    );
    for (scope, resource) in [
        ("openid profile", "https://localhost:8443/mcp"),
        ("User.Read", "https://graph.microsoft.com"),
        ("mcp.read", uri.as_str()),
        (scope.as_str(), "https://localhost:8443/mcp"),
    ] {
        let changes = [("scope", scope), ("resource", resource)];
        redirects_with(
            &authorize(&entra, &changes).await,
            "invalid_target",
            9_010_010,
        );
    }
    let fits = [("scope", scope.as_str()), ("resource", uri.as_str())];
    assert!(pairs(&authorize(&entra, &fits).await).contains_key("code"));

    let legacy = builder()
        .resource_mode(ResourceMode::Legacy)
        .start()
        .await
        .unwrap();
    redirects_with(&authorize(&legacy, &fits).await, "invalid_request", 901_002);
    let relaxed = builder()
        .resource_mode(ResourceMode::Ignore)
        .start()
        .await
        .unwrap();
    let any = [("resource", "https://localhost:8443/mcp")];
    assert!(pairs(&authorize(&relaxed, &any).await).contains_key("code"));
}

#[tokio::test]
async fn asking_for_consent_again_fails_where_people_may_not_consent() {
    let entra = entra().await;
    shows_page(&authorize(&entra, &[("prompt", "consent")]).await, 90_095);
    shows_page(&authorize(&entra, &[("scope", "Mail.Read")]).await, 90_095);
    let missing = [("scope", "Mail.Read"), ("prompt", "none")];
    redirects_with(
        &authorize(&entra, &missing).await,
        "interaction_required",
        65_001,
    );

    let strict = builder().admin_workflow(false).start().await.unwrap();
    shows_page(&authorize(&strict, &[("prompt", "consent")]).await, 90_094);

    let open = builder().user_consent(true).start().await.unwrap();
    let code = code(&open, &[("scope", "Mail.Read"), ("prompt", "consent")]).await;
    let tokens = redeem(&open, &code, &[]).await.json();
    assert_eq!(tokens["scope"], "Mail.Read");
}

#[tokio::test]
async fn a_person_signs_in_on_a_page_that_works_without_a_script() {
    let entra = builder()
        .auto_approve(false)
        .user_consent(true)
        .start()
        .await
        .unwrap();
    let page = authorize(&entra, &[]).await;
    assert_eq!(page.status, 200);
    assert!(
        page.body
            .contains("<button name=\"_emu_user\" value=\"alice@contoso.example\">")
    );
    assert!(page.body.contains("name=\"state\" value=\"a/b+c=d e\""));
    assert!(!page.body.contains("<script"));
    redirects_with(
        &authorize(&entra, &[("prompt", "none")]).await,
        "login_required",
        50_058,
    );
    let post = async |more: Pairs<'_>| {
        let form = merge(REQUEST, more);
        send(client().post(entra.authorization_endpoint()).form(&form)).await
    };
    let signed_in = post(&[("_emu_user", "bob@contoso.example")]).await;
    let tokens = redeem(&entra, &pairs(&signed_in)["code"], &[]).await.json();
    assert_eq!(
        claims(&tokens["id_token"])["preferred_username"],
        "bob@contoso.example"
    );

    let asked = [("_emu_user", "bob@contoso.example"), ("prompt", "consent")];
    assert!(post(&asked).await.body.contains("Permissions requested"));
    let cancelled = merge(&asked, &[("_emu_consent", "cancel")]);
    redirects_with(&post(&cancelled).await, "access_denied", 65_004);
    let accepted = merge(&asked, &[("_emu_consent", "accept")]);
    assert!(pairs(&post(&accepted).await).contains_key("code"));
}

#[tokio::test]
async fn a_code_is_answered_in_the_mode_asked_for() {
    let entra = entra().await;
    let query = pairs(&authorize(&entra, &[]).await);
    assert_eq!(query["state"], "a/b+c=d e");
    assert!(query.contains_key("session_state") && !query.contains_key("iss"));
    let fragment = authorize(&entra, &[("response_mode", "fragment")]).await;
    let location = fragment.header("location").unwrap();
    assert!(location.starts_with("http://localhost:3118/callback#code="));
    let form = authorize(&entra, &[("response_mode", "form_post")]).await;
    assert_eq!(form.status, 200);
    assert!(form.body.contains("name=\"code\" value=\"1.A"));
}

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
