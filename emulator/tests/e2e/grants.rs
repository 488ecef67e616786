//! Applications that ask for tokens themselves, and what Graph tells them.

use mcp_gateway_emulator::entra::{
    API_SCOPE, App, Builder, CLIENT_ID, ClientCertificate, Endpoint, Entra, Fault, GRAPH, Grant,
    TENANT, User,
};
use serde_json::{Value, json};

use crate::http::{Seen, client, send};

const BACKEND: &str = "33333333-0000-4000-8000-000000000001";
const ELSEWHERE: &str = "8b4f2d63-9d0e-4b8a-8c11-5f2e6d7b9a02";
const OBO: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

fn grant(resource: &str, scope: &str) -> Grant {
    Grant {
        client: CLIENT_ID.to_owned(),
        resource: resource.to_owned(),
        scopes: vec![scope.to_owned()],
        principal: None,
    }
}

fn builder() -> Builder {
    Entra::builder()
        .app(App::new(BACKEND, "Backend").exposes("api://backend", &["read", "write"]))
        .registration(|mut app| {
            app.expired_secrets.push("old".to_owned());
            app.secret("good")
        })
        .grant(grant(BACKEND, "read"))
        .tenant_of(
            ELSEWHERE,
            User {
                oid: "5e0a7c1d-0000-4000-8000-000000000009".to_owned(),
                upn: "carol@partner.example".to_owned(),
                name: "Carol".to_owned(),
                groups: vec!["g".to_owned()],
                roles: vec![],
                admin: false,
            },
        )
}

/// Posts a form of the gateway's application, with changes; an empty value removes.
async fn ask(entra: &Entra, grant: &str, changes: &[(&str, &str)]) -> Seen {
    let mut form = vec![
        ("grant_type", grant),
        ("client_id", CLIENT_ID),
        ("client_secret", "good"),
    ];
    form.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    form.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    send(client().post(entra.token_endpoint()).form(&form)).await
}

async fn on_behalf_of(entra: &Entra, assertion: &str, changes: &[(&str, &str)]) -> Seen {
    let mut form = vec![
        ("assertion", assertion),
        ("requested_token_use", "on_behalf_of"),
        ("scope", "api://backend/read"),
    ];
    form.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    form.extend(changes);
    ask(entra, OBO, &form).await
}

fn is_refused(seen: &Seen, status: u16, code: u32) {
    assert_eq!(seen.status, status, "{seen:?}");
    assert_eq!(seen.json()["error_codes"], json!([code]), "{seen:?}");
}

fn claims(token: &Value) -> Value {
    use base64::Engine;
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload);
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

#[tokio::test]
async fn an_api_gets_a_token_for_another_on_behalf_of_its_caller() {
    let entra = builder().start().await.unwrap();
    let alice = entra.api_token("alice").unwrap();
    for scope in ["api://backend/read", "api://backend/.default"] {
        let seen = on_behalf_of(&entra, &alice, &[("scope", scope)]).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        let token = claims(&seen.json()["access_token"]);
        assert_eq!(token["aud"], BACKEND);
        assert_eq!(token["scp"], "read");
        assert_eq!(token["oid"], claims(&json!(alice))["oid"]);
        assert!(seen.json().get("id_token").is_none());
    }
}

#[tokio::test]
async fn an_assertion_is_an_access_token_for_whoever_presents_it() {
    let entra = builder().start().await.unwrap();
    let alice = entra.api_token("alice").unwrap();
    let id_token = entra.token("alice").build();
    is_refused(&on_behalf_of(&entra, &id_token, &[]).await, 400, 240_002);
    let other = entra.token_for("alice", BACKEND, "read").unwrap();
    is_refused(&on_behalf_of(&entra, &other, &[]).await, 400, 500_131);
    let graph = entra.graph_token("alice").unwrap();
    is_refused(&on_behalf_of(&entra, &graph, &[]).await, 400, 50_013);
    let forged = entra.token("alice").claim("scp", API_SCOPE);
    let forged = forged.signed_by_wrong_key().build();
    is_refused(&on_behalf_of(&entra, &forged, &[]).await, 400, 50_013);
    let expired = entra.token("alice").claim("scp", API_SCOPE).expires_in(-1);
    is_refused(
        &on_behalf_of(&entra, &expired.build(), &[]).await,
        400,
        500_133,
    );
    for missing in ["assertion", "requested_token_use", "scope"] {
        is_refused(
            &on_behalf_of(&entra, &alice, &[(missing, "")]).await,
            400,
            900_144,
        );
    }
    let write = [("scope", "api://backend/write")];
    is_refused(&on_behalf_of(&entra, &alice, &write).await, 400, 65_001);
}

#[tokio::test]
async fn an_application_that_asks_for_itself_keeps_a_secret() {
    let entra = builder().start().await.unwrap();
    let alice = entra.api_token("alice").unwrap();
    for (secret, code) in [("", 7_000_218), ("bad", 7_000_215), ("old", 7_000_222)] {
        let seen = on_behalf_of(&entra, &alice, &[("client_secret", secret)]).await;
        is_refused(&seen, 401, code);
        let scope = [
            ("scope", "api://backend/.default"),
            ("client_secret", secret),
        ];
        is_refused(&ask(&entra, "client_credentials", &scope).await, 401, code);
    }
}

#[tokio::test]
async fn an_application_in_its_own_name_asks_for_the_default_scope() {
    let entra = builder().start().await.unwrap();
    let own = async |scope: &str| ask(&entra, "client_credentials", &[("scope", scope)]).await;
    let seen = own("api://backend/.default").await;
    let token = claims(&seen.json()["access_token"]);
    assert_eq!(
        (&token["idtyp"], &token["aud"]),
        (&json!("app"), &json!(BACKEND))
    );
    assert!(token.get("scp").is_none());
    is_refused(&own("api://backend/read").await, 400, 1_002_012);
    is_refused(&own("openid").await, 400, 1_002_012);
    is_refused(&own("").await, 400, 900_144);
    let everywhere = entra.token_endpoint().replace(TENANT, "organizations");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT_ID),
        ("client_secret", "good"),
        ("scope", "api://backend/.default"),
    ];
    let seen = send(client().post(everywhere).form(&form)).await;
    is_refused(&seen, 400, 90_002);
}

#[tokio::test]
async fn a_policy_answers_with_what_it_demands() {
    let entra = builder().start().await.unwrap();
    entra.fail(Endpoint::Token, Fault::Interaction(50_079), 1);
    let alice = entra.api_token("alice").unwrap();
    let seen = on_behalf_of(&entra, &alice, &[]).await;
    is_refused(&seen, 400, 50_079);
    assert_eq!(seen.json()["error"], "interaction_required");
    assert!(seen.json()["claims"].is_string());
}

#[tokio::test]
async fn an_assertion_of_a_certificate_is_looked_at_closely() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(vec![]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().to_vec();
    let thumbprint = {
        use base64::Engine;
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash)
    };
    let known = ClientCertificate {
        certificate,
        public_key: rcgen::PublicKeyData::der_bytes(&key).to_vec(),
    };
    let entra = builder()
        .registration(|mut app| {
            app.certificates.push(known);
            app
        })
        .start()
        .await
        .unwrap();
    let now = entra.clock().now();
    let endpoint = entra.token_endpoint();
    let good = json!({
        "aud": endpoint, "iss": CLIENT_ID, "sub": CLIENT_ID, "jti": "1",
        "nbf": now, "iat": now, "exp": now + 300,
    });
    let signing = jsonwebtoken::EncodingKey::from_rsa_pem(key.serialize_pem().as_bytes()).unwrap();
    let present = async |claims: &Value, thumbprint: &str| {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::PS256);
        header.x5t_s256 = Some(thumbprint.to_owned());
        let assertion = jsonwebtoken::encode(&header, claims, &signing).unwrap();
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let form = [
            ("client_secret", ""),
            ("scope", "api://backend/.default"),
            ("client_assertion_type", kind),
            ("client_assertion", &assertion),
        ];
        ask(&entra, "client_credentials", &form).await
    };
    let seen = present(&good, &thumbprint).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    is_refused(&present(&good, "another").await, 401, 700_027);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    for (claims, code) in [
        (with("iss", json!(BACKEND)), 700_021),
        (with("sub", json!(BACKEND)), 700_021),
        (
            with("aud", json!("https://elsewhere.example/token")),
            700_023,
        ),
        (with("exp", json!(now - 1)), 700_024),
        (with("exp", json!(now + 3_600)), 700_024),
        (with("jti", json!("")), 700_027),
    ] {
        is_refused(&present(&claims, &thumbprint).await, 401, code);
    }
}

async fn graph(entra: &Entra, token: &Value, path: &str, post: bool) -> Seen {
    let url = format!("{}{path}", entra.authority());
    let request = if post {
        client()
            .post(url)
            .json(&json!({"securityEnabledOnly": true}))
    } else {
        client().get(url)
    };
    send(request.bearer_auth(token.as_str().unwrap())).await
}

#[tokio::test]
async fn graph_tells_groups_to_who_may_read_them() {
    let of = |user: &str| format!("/v1.0/users/{user}/getMemberObjects");
    let (alice, carol) = (
        of("5e0a7c1d-0000-4000-8000-000000000001"),
        of("5e0a7c1d-0000-4000-8000-000000000009"),
    );
    let token = async |entra: &Entra| {
        let scope = [("scope", "https://graph.microsoft.com/.default")];
        let seen = ask(entra, "client_credentials", &scope).await;
        seen.json()["access_token"].clone()
    };
    let without = builder().start().await.unwrap();
    let refused = graph(&without, &token(&without).await, &alice, true).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(
        refused.json()["error"]["code"],
        "Authorization_RequestDenied"
    );

    let entra = builder()
        .registration(|mut app| {
            app.permissions.push("GroupMember.Read.All".to_owned());
            app
        })
        .start()
        .await
        .unwrap();
    let token = token(&entra).await;
    let seen = graph(&entra, &token, &alice, true).await;
    assert_eq!(seen.json()["value"].as_array().unwrap().len(), 2);
    // Of another tenant, with a token for this one; nobody; and an application is no user.
    for path in [carol, of("nobody"), "/v1.0/elsewhere".to_owned()] {
        assert_eq!(
            graph(&entra, &token, &path, true).await.status,
            404,
            "{path}"
        );
    }
    assert_eq!(
        graph(&entra, &token, "/v1.0/me/memberOf", false)
            .await
            .status,
        401
    );
    let other = json!(entra.api_token("alice").unwrap());
    assert_eq!(graph(&entra, &other, &alice, true).await.status, 401);
}

#[tokio::test]
async fn a_user_reads_about_himself() {
    let entra = builder()
        .grant(grant(GRAPH, "User.Read"))
        .start()
        .await
        .unwrap();
    let alice = entra.api_token("alice").unwrap();
    let scope = [("scope", "https://graph.microsoft.com/.default")];
    let token = on_behalf_of(&entra, &alice, &scope).await.json()["access_token"].clone();
    let groups = graph(&entra, &token, "/v1.0/me/getMemberObjects", true).await;
    assert_eq!(groups.json()["value"].as_array().unwrap().len(), 2);
    let groups = graph(&entra, &token, "/v1.0/me/memberOf", false).await;
    assert_eq!(groups.json()["value"].as_array().unwrap().len(), 2);
    let info = graph(&entra, &token, "/oidc/userinfo", false).await;
    assert_eq!(info.json()["email"], "alice@contoso.example");
}
