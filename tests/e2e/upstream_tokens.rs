//! What a workload gets as proof of who calls: on behalf of the caller, in exchange, or its own.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_gateway_emulator::entra::{
    self, API_SCOPE, App, CLIENT_ID, ClientCertificate, Endpoint, Fault, Grant,
};
use serde_json::Value;

use crate::{
    oauth::flow::claims,
    world::{Answer, AssertionKey, CLIENT_SECRET, Canned, World, mcp},
};

/// The registration of the workload's own API.
const BACKEND: &str = "3a1c5e7f-77aa-4c1e-9b6d-3e2f1a0b9c8d";

fn backend(entra: entra::Builder) -> entra::Builder {
    entra.app(App::new(BACKEND, "Backend").exposes(format!("api://{BACKEND}"), &["read"]))
}

fn consented(entra: entra::Builder) -> entra::Builder {
    backend(entra).grant(Grant {
        client: CLIENT_ID.to_owned(),
        resource: BACKEND.to_owned(),
        scopes: vec!["read".to_owned()],
        principal: None,
    })
}

fn with_secret(entra: entra::Builder) -> entra::Builder {
    consented(entra).registration(|app| app.secret(CLIENT_SECRET))
}

const SECRET: &str = "{ client_secret: { env: CLIENT_SECRET } }";

/// A workload that verifies tokens for its own API, behind a gateway that gets them on behalf of its
/// callers.
async fn world(shape: impl FnOnce(entra::Builder) -> entra::Builder, credentials: &str) -> World {
    World::builder()
        .entra(shape)
        .provider(&format!(
            "bearer: access_token, api: {{ scopes: [{API_SCOPE}] }}, credentials: {credentials}"
        ))
        .audience(BACKEND)
        .workload("github")
        .route_with(
            "/mcp",
            &format!("upstream_token: {{ on_behalf_of: {{ scopes: ['api://{BACKEND}/read'] }} }}"),
        )
        .start()
        .await
}

async fn call(world: &World, who: &str) -> Answer {
    let token = world.entra.api_token(who).unwrap();
    world
        .rpc("/mcp", Some(&token), None, &mcp::initialize())
        .await
}

/// The claims of the token in the last request that the workload saw.
fn seen(world: &World) -> Value {
    let requests = world.workloads[0].mcp_requests();
    let bearer = requests.last().unwrap().header("authorization").unwrap();
    claims(bearer.strip_prefix("Bearer ").unwrap())
}

#[tokio::test]
async fn a_workload_gets_a_token_of_its_own_for_each_caller() {
    let world = world(with_secret, SECRET).await;
    for who in ["alice", "bob"] {
        let token = world.entra.api_token(who).unwrap();
        for _ in 0..3 {
            world.session("/mcp", &token).await;
        }
        let (theirs, ours) = (claims(&token), seen(&world));
        assert_eq!(
            (&ours["aud"], &ours["scp"]),
            (&BACKEND.into(), &"read".into())
        );
        assert_eq!(ours["oid"], theirs["oid"]);
        assert_eq!(ours["azp"], CLIENT_ID);
    }
    // One for each caller's token, however often it comes.
    assert_eq!(world.entra.requests_to(Endpoint::Token).len(), 2);
    let counted = "gateway_delegations_total{outcome=\"success\",purpose=\"on_behalf_of\"}";
    assert_eq!(world.count(counted), 2);
    assert!(!world.access_text().contains("eyJ"));
}

#[tokio::test]
async fn a_certificate_proves_who_the_gateway_is() {
    let key = AssertionKey::generate();
    let shape = |registered: Option<ClientCertificate>| {
        |entra: entra::Builder| {
            consented(entra).registration(|mut app| {
                app.certificates.extend(registered);
                app
            })
        }
    };
    let known = world(shape(Some(key.uploaded())), &key.credentials()).await;
    assert_eq!(call(&known, "alice").await.status, 200);
    let sent = known.entra.requests_to(Endpoint::Token);
    assert!(sent[0].field("client_assertion").is_some());
    assert!(sent[0].field("client_secret").is_none());
    // A certificate that Entra does not know opens nothing.
    let unknown = world(shape(None), &key.credentials()).await;
    refused(&unknown, "invalid_client").await;
}

/// A call fails for what the operator must mend: no challenge, for no sign-in helps.
async fn refused(world: &World, error: &str) {
    let answer = call(world, "alice").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.header("www-authenticate").is_none());
    assert!(answer.body.contains(error), "{answer:?}");
    let line = world.access_line(|line| line["status"] == 502).await;
    assert_eq!(line["reason"], "upstream_token_refused");
    assert_eq!(world.workloads[0].mcp_requests().len(), 0);
    let counted =
        format!("gateway_delegations_total{{outcome=\"{error}\",purpose=\"on_behalf_of\"}}");
    assert_eq!(world.count(&counted), 1);
}

#[tokio::test]
async fn what_the_operator_must_mend_is_no_challenge() {
    let no_consent = |entra| backend(entra).registration(|app| app.secret(CLIENT_SECRET));
    refused(&world(no_consent, SECRET).await, "consent_required").await;
    let wrong = |entra| consented(entra).registration(|app| app.secret("another"));
    refused(&world(wrong, SECRET).await, "invalid_client").await;
    let expired = |entra| {
        consented(entra).registration(|mut app| {
            app.expired_secrets.push(CLIENT_SECRET.to_owned());
            app
        })
    };
    refused(&world(expired, SECRET).await, "invalid_client").await;
}

#[tokio::test]
async fn what_a_policy_demands_travels_to_the_client() {
    let world = world(with_secret, SECRET).await;
    world
        .entra
        .fail(Endpoint::Token, Fault::Interaction(50_079), 1);
    let answer = call(&world, "alice").await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let challenge = answer.header("www-authenticate").unwrap().to_owned();
    assert!(
        challenge.contains("error=\"insufficient_claims\""),
        "{challenge}"
    );
    let between = |start: &str| {
        let rest = challenge.split_once(start).unwrap().1;
        rest.split('"').next().unwrap().to_owned()
    };
    let demand = URL_SAFE_NO_PAD.decode(between("claims=\"")).unwrap();
    let demand: Value = serde_json::from_slice(&demand).unwrap();
    assert!(demand["access_token"].is_object(), "{demand}");
    // A client that knows only scopes asks for this one, and Entra sees the claims.
    let scope = between("scope=\"");
    let target = format!(
        "/oauth2/authorize?client_id={CLIENT_ID}&response_type=code&state=s&scope={}&\
         redirect_uri=http://localhost:3118/callback&code_challenge_method=S256&\
         code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        scope.replace(' ', "+")
    );
    let answer = world.get(&target).await;
    let location = answer.header("location").unwrap().to_owned();
    let pairs = crate::oauth::flow::query(&location);
    let sent = crate::oauth::flow::find(&pairs, "claims").unwrap();
    assert_eq!(serde_json::from_str::<Value>(sent).unwrap(), demand);
}

#[tokio::test]
async fn while_entra_is_away_clients_are_told_to_wait() {
    let world = world(with_secret, SECRET).await;
    let alice = world.entra.api_token("alice").unwrap();
    world.session("/mcp", &alice).await;
    world.entra.fail_always(Endpoint::Token, Fault::Refuse);
    // Whose token is at hand notices nothing.
    world.session("/mcp", &alice).await;
    let answer = call(&world, "bob").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    assert!(answer.header("www-authenticate").is_none());
    let line = world.access_line(|line| line["status"] == 503).await;
    assert_eq!(line["reason"], "upstream_token_unavailable");
}

#[tokio::test]
async fn who_must_sign_in_again_is_told_so() {
    let world = world(with_secret, SECRET).await;
    world.entra.fail(Endpoint::Token, Fault::Revoked, 1);
    let answer = call(&world, "alice").await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(
        challenge.ends_with("error=\"invalid_token\""),
        "{challenge}"
    );
}

#[tokio::test]
async fn a_token_that_the_workload_refuses_is_not_kept() {
    let shape = |entra| with_secret(entra);
    let world = World::builder()
        .entra(shape)
        .provider(&format!(
            "bearer: access_token, api: {{ scopes: [{API_SCOPE}] }}, credentials: {SECRET}"
        ))
        .audience("somebody-else")
        .workload("github")
        .route_with(
            "/mcp",
            &format!("upstream_token: {{ on_behalf_of: {{ scopes: ['api://{BACKEND}/read'] }} }}"),
        )
        .start()
        .await;
    let token = world.entra.api_token("alice").unwrap();
    for asked in 1..=2 {
        let answer = world
            .rpc("/mcp", Some(&token), None, &mcp::initialize())
            .await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(world.entra.requests_to(Endpoint::Token).len(), asked);
    }
}

#[tokio::test]
async fn other_servers_exchange_the_callers_token() {
    let server = Canned::start().await;
    server.says_json(
        r#"{"access_token":"exchanged","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":600}"#,
    );
    let world = World::builder()
        .workloads_without_oidc()
        .workload("github")
        .route_with(
            "/mcp",
            &format!(
                "upstream_token: {{ exchange: {{ url: 'http://{}/token', audience: backend }} }}",
                server.address()
            ),
        )
        .start()
        .await;
    let token = world.token("alice");
    for _ in 0..3 {
        world.session("/mcp", &token).await;
    }
    let [request] = &server.requests()[..] else {
        panic!("{:?}", server.requests().len());
    };
    let body = request.split_once("\r\n\r\n").unwrap().1;
    let form = crate::oauth::flow::query(&format!("http://x/?{body}"));
    let find = |name| crate::oauth::flow::find(&form, name);
    assert_eq!(find("subject_token"), Some(token.as_str()));
    let kind = "urn:ietf:params:oauth:token-type:id_token";
    assert_eq!(find("subject_token_type"), Some(kind));
    assert_eq!(find("audience"), Some("backend"));
    for request in world.workloads[0].mcp_requests() {
        assert_eq!(request.header("authorization"), Some("Bearer exchanged"));
    }
}

#[tokio::test]
async fn a_credential_of_its_own_takes_the_place_of_the_callers() {
    let world = World::builder()
        .workloads_without_oidc()
        .workload("github")
        .route_with(
            "/mcp",
            "upstream_token: { static: { secret: { env: CLIENT_SECRET } } }",
        )
        .route_with(
            "/mcp/key",
            "upstream_token: { static: { header: X-Api-Key, secret: { env: CLIENT_SECRET } } }",
        )
        .start()
        .await;
    let token = world.token("alice");
    world.session("/mcp", &token).await;
    let bearer = format!("Bearer {CLIENT_SECRET}");
    for request in world.workloads[0].mcp_requests() {
        assert_eq!(request.header("authorization"), Some(bearer.as_str()));
    }
    world.workloads[0].forget_requests();
    world.session("/mcp/key", &token).await;
    for request in world.workloads[0].mcp_requests() {
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.header("x-api-key"), Some(CLIENT_SECRET));
    }
    assert!(!world.access_text().contains(CLIENT_SECRET));
}
