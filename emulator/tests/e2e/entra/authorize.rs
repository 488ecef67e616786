//! The authorization endpoint.

use mcp_gateway_emulator::entra::{API_SCOPE, CLIENT_ID, ResourceMode};

use super::{
    BARE, Pairs, REQUEST, SPA, authorize, builder, claims, code, entra, merge, pairs, redeem,
    redirects_with, shows_page, with_query,
};
use crate::http::{client, send};

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
