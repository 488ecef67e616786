//! One tenant, several, External ID, and tokens of version 1.0: whose tokens open a route.

use mcp_gateway_emulator::entra::{API_SCOPE, CLIENT_ID, TENANT, TokenBuilder, User};

use crate::{
    oauth::flow::Flow,
    world::{World, mcp},
};

/// A tenant that is let in beside the gateway's own.
const PARTNER: &str = "8b4f2d63-9d0e-4b8a-8c11-5f2e6d7b9a02";
/// A tenant that nobody let in.
const STRANGER: &str = "9c503e74-9d0e-4b8a-8c11-5f2e6d7b9a03";

fn person(name: &str, number: u32) -> User {
    User {
        oid: format!("5e0a7c1d-0000-4000-8000-{number:012}"),
        upn: format!("{name}@partner.example"),
        name: name.to_owned(),
        groups: vec![],
        roles: vec![],
        admin: false,
    }
}

const SEVERAL: &str = "authorization_server: { entra: { tenant: organizations, \
    tenants: [{tenant}, 8b4f2d63-9d0e-4b8a-8c11-5f2e6d7b9a02], client_id: {client_id}, \
    authority: '{authority}' } }";

/// A gateway for alice's tenant and carol's; dave is from elsewhere.
async fn several(identity: Option<&str>) -> World {
    let mut world = World::builder()
        .entra(|entra| {
            entra
                .tenant_of(PARTNER, person("carol", 7))
                .tenant_of(STRANGER, person("dave", 8))
        })
        .workloads_without_oidc()
        .workload("github")
        .route("/mcp");
    if let Some(identity) = identity {
        world = world.identity(identity);
    }
    world.start().await
}

/// Sends a token, and expects 401 with this reason.
async fn is_refused(world: &World, token: &str, reason: &str) {
    let sample = format!("gateway_token_verdicts_total{{reason=\"{reason}\"}}");
    let before = world.count(&sample);
    let passed = world.workloads[0].mcp_requests().len();
    let initialize = mcp::initialize();
    let answer = world.rpc("/mcp", Some(token), None, &initialize).await;
    assert_eq!(answer.status, 401, "{reason}: {answer:?}");
    assert_eq!(world.count(&sample), before + 1, "{reason}: {answer:?}");
    assert_eq!(world.workloads[0].mcp_requests().len(), passed);
}

#[tokio::test]
async fn users_of_each_listed_tenant_sign_in_and_call() {
    let world = several(Some(SEVERAL)).await;
    for who in ["alice", "carol"] {
        let (flow, hint) = (Flow::through_gateway(&world), [("login_hint", who)]);
        let code = flow.code(&hint).await.unwrap();
        let tokens = flow.redeem(&code, &[]).await.json();
        let token = tokens["access_token"].as_str().unwrap();
        world.session("/mcp", token).await;
        let refreshed = flow
            .refresh(tokens["refresh_token"].as_str().unwrap(), &[])
            .await;
        let token = refreshed.json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        world.session("/mcp", &token).await;
    }
}

#[tokio::test]
async fn users_of_other_tenants_stay_outside() {
    let world = several(Some(SEVERAL)).await;
    let dave = world.entra.token("dave").build();
    is_refused(&world, &dave, "tenant").await;
    let alice = || world.entra.token("alice");
    let issuer = |tenant: &str| format!("{}/{tenant}/v2.0", world.entra.authority());
    let wrong: Vec<(TokenBuilder, &str)> = vec![
        (alice().claim("tid", PARTNER), "issuer"),
        (alice().claim("iss", issuer(PARTNER)), "issuer"),
        (alice().claim("iss", issuer(STRANGER)), "issuer"),
        (alice().claim("tid", STRANGER), "tenant"),
        (
            alice()
                .claim("tid", STRANGER)
                .claim("iss", issuer(STRANGER)),
            "tenant",
        ),
        (
            alice()
                .claim("tid", "{tenantid}")
                .claim("iss", issuer("{tenantid}")),
            "tenant",
        ),
        (alice().claim("iss", issuer("{tenantid}")), "issuer"),
        (alice().without("tid"), "missing_claim"),
        (alice().claim("iat", 9_999_999_999_i64), "not_yet_valid"),
        (alice().expires_in(0), "expired"),
    ];
    for (token, reason) in wrong {
        is_refused(&world, &token.build(), reason).await;
    }
}

#[tokio::test]
async fn a_gateway_of_one_tenant_knows_no_other() {
    let world = several(None).await;
    let carol = world.entra.token("carol").build();
    is_refused(&world, &carol, "issuer").await;
    // Entra itself says so at the sign-in, on a page.
    let (flow, hint) = (Flow::through_gateway(&world), [("login_hint", "carol")]);
    let refused = flow.code(&hint).await.unwrap_err();
    assert!(refused.body.contains("AADSTS50020"), "{refused:?}");
}

#[tokio::test]
async fn who_is_not_assigned_is_told_by_entra() {
    let world = World::builder()
        .entra(|entra| {
            entra.registration(|mut app| {
                app.assigned = Some(vec!["alice".to_owned()]);
                app
            })
        })
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let code = async |who| {
        let (flow, hint) = (Flow::through_gateway(&world), [("login_hint", who)]);
        flow.code(&hint).await
    };
    assert!(code("alice").await.is_ok());
    let refused = code("bob").await.unwrap_err();
    assert!(refused.body.contains("AADSTS50105"), "{refused:?}");
}

#[tokio::test]
async fn a_key_of_one_tenant_signs_for_no_other() {
    // The document of another tenant, at which every key says whose it is.
    let identity = format!(
        "identity: {{ issuer: '{{authority}}/{{tenant}}/v2.0', audiences: [{{client_id}}], \
         tenant: {{tenant}}, jwks_uri: '{{authority}}/{PARTNER}/discovery/v2.0/keys', scopes: [] }}"
    );
    let world = several(Some(&identity)).await;
    let alice = world.entra.token("alice").build();
    is_refused(&world, &alice, "key_issuer").await;
}

#[tokio::test]
async fn tokens_of_external_id_name_another_host_than_the_sign_in() {
    let issuer = format!("https://{TENANT}.ciamlogin.com");
    let world = World::builder()
        .entra(|entra| entra.issuer_authority(&issuer))
        .identity(&format!(
            "authorization_server: {{ entra: {{ tenant: {{tenant}}, client_id: {{client_id}}, \
             authority: '{{authority}}/{{tenant}}', issuer: '{issuer}/{TENANT}/v2.0' }} }}"
        ))
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let tokens = Flow::through_gateway(&world).tokens().await;
    let token = tokens["access_token"].as_str().unwrap();
    world.session("/mcp", token).await;
    let plain = format!("{}/{TENANT}/v2.0", world.entra.authority());
    let plain = world.entra.token("alice").claim("iss", plain).build();
    is_refused(&world, &plain, "issuer").await;
}

#[tokio::test]
async fn tokens_of_version_1_open_a_route_only_where_that_is_said() {
    let settings =
        |more: &str| format!("bearer: access_token, api: {{ scopes: [{API_SCOPE}] }}{more}");
    let start = async |more: &str| {
        World::builder()
            .entra(|entra| {
                entra.registration(|mut app| {
                    app.token_version = 1;
                    app
                })
            })
            .provider(&settings(more))
            .workloads_without_oidc()
            .workload("github")
            .route("/mcp")
            .start()
            .await
    };
    let world = start("").await;
    let token = world.entra.api_token("alice").unwrap();
    is_refused(&world, &token, "version").await;
    let answer = world
        .rpc("/mcp", Some(&token), None, &mcp::initialize())
        .await;
    assert!(
        answer.body.contains("requestedAccessTokenVersion"),
        "{answer:?}"
    );

    let world = start(", v1_tokens: true").await;
    let token = world.entra.api_token("alice").unwrap();
    world.session("/mcp", &token).await;
    let id_token = world.entra.token("alice");
    let forged = id_token
        .claim("iss", format!("https://sts.windows.net/{PARTNER}/"))
        .claim("ver", "1.0")
        .claim("aud", format!("api://{CLIENT_ID}"));
    is_refused(&world, &forged.build(), "issuer").await;
}
