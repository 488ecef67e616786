//! The token endpoint: what reaches Entra, and what clients get of the answer.

use mcp_gateway_emulator::entra::{CLIENT_ID, Endpoint};
use reqwest::Method;
use serde_json::{Value, json};

use super::flow::{CALLBACK, Flow, claims};
use crate::world::{Answer, World, send};

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

#[tokio::test]
async fn the_bearer_is_the_id_token_and_lives_no_longer() {
    let world = World::usual().await;
    let tokens = Flow::through_gateway(&world).tokens().await;
    assert_eq!(tokens["access_token"], tokens["id_token"]);
    let claims = claims(tokens["access_token"].as_str().unwrap());
    assert_eq!(claims["aud"], CLIENT_ID);
    let left = claims["exp"].as_i64().unwrap() - now() - 60;
    for member in ["expires_in", "ext_expires_in"] {
        let told = tokens[member].as_i64().unwrap();
        assert!(
            (left - 2..=left + 2).contains(&told),
            "{member}: {told} of {left}"
        );
    }
    assert_eq!(tokens["token_type"], "Bearer");
}

#[tokio::test]
async fn the_scope_names_only_what_is_published() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    let asked = [("scope", "openid profile User.Read offline_access")];
    let code = flow.code(&asked).await.unwrap();
    let scope = flow.redeem(&code, &[]).await.json()["scope"].clone();
    let scope = scope.as_str().unwrap();
    assert!(scope.split(' ').any(|one| one == "openid"), "{scope}");
    assert!(!scope.contains("User.Read"), "{scope}");
}

#[tokio::test]
async fn token_answers_are_never_stored() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    let code = flow.code(&[]).await.unwrap();
    for answer in [
        flow.redeem(&code, &[]).await,
        flow.redeem("wrong", &[]).await,
    ] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));
        assert_eq!(
            answer.header("content-type"),
            Some("application/json; charset=utf-8")
        );
        let of_entra =
            |name: &str| name.starts_with("x-ms-") || matches!(name, "set-cookie" | "p3p");
        assert!(
            !answer.headers.keys().any(|name| of_entra(name.as_str())),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn pages_of_any_site_may_read_the_answer_and_its_errors() {
    let world = World::usual().await;
    let flow =
        Flow::through_gateway(&world).with_header(Some(("origin", "https://inspector.example")));
    let code = flow.code(&[]).await.unwrap();
    for answer in [
        flow.redeem(&code, &[]).await,
        flow.redeem("wrong", &[]).await,
        flow.redeem(&code, &[("client_id", "other")]).await,
    ] {
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("*"),
            "{answer:?}"
        );
        assert!(answer.header("access-control-allow-credentials").is_none());
    }
}

#[tokio::test]
async fn entra_sees_the_form_and_nothing_of_the_client() {
    let world = World::usual().await;
    let request = world
        .client()
        .request(Method::POST, "/oauth2/token")
        .header("origin", "https://inspector.example")
        .header("referer", "https://inspector.example/x")
        .header("cookie", "a=b")
        .header("x-forwarded-for", "1.2.3.4")
        .header("user-agent", "planted/1")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "%72esource=x&client_id={CLIENT_ID}&code=a%2Fb+c&grant_type=authorization_code&x=%7e\
             &resource=y&code_verifier=v&redirect_uri=http://localhost:3118/callback&scope=openid+offline_access&resource"
        ));
    assert_eq!(send(request).await.status, 400);
    let seen = world.entra.requests_to(Endpoint::Token);
    let [seen] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert_eq!(
        String::from_utf8_lossy(&seen.body),
        format!(
            "client_id={CLIENT_ID}&code=a%2Fb+c&grant_type=authorization_code&x=%7e\
             &code_verifier=v&redirect_uri=http://localhost:3118/callback&scope=openid+offline_access"
        )
    );
    for name in [
        "origin",
        "referer",
        "cookie",
        "x-forwarded-for",
        "forwarded",
        "authorization",
    ] {
        assert!(seen.header(name).is_none(), "{name}: {:?}", seen.headers);
    }
    let agent = seen.header("user-agent").unwrap_or_default();
    assert!(!agent.contains("planted"), "{agent}");
}

#[tokio::test]
async fn the_scope_is_completed_on_refresh_too() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    let tokens = flow.tokens().await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    for sent in ["", "profile", "openid profile offline_access"] {
        world.entra.forget_requests();
        let answer = flow.refresh(refresh_token, &[("scope", sent)]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.json()["refresh_token"].is_string());
        let seen = world.entra.requests_to(Endpoint::Token);
        let scope = seen[0].field("scope").unwrap();
        for needed in ["openid", "offline_access"] {
            let found = scope.split(' ').filter(|one| *one == needed).count();
            assert_eq!(found, 1, "{sent}: {scope}");
        }
    }
}

#[track_caller]
fn is_refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.error(), error, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn other_grants_never_reach_entra() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    for grant in [
        "password",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "AUTHORIZATION_CODE",
        "",
    ] {
        let answer = flow
            .post(&[
                ("client_id", CLIENT_ID),
                ("grant_type", grant),
                ("username", "alice@contoso.example"),
                ("password", "Winter2026!"),
                ("scope", "openid"),
            ])
            .await;
        is_refused(&answer, 400, "unsupported_grant_type");
        assert!(!answer.body.contains("Winter2026"));
    }
    assert_eq!(world.entra.requests_to(Endpoint::Token).len(), 0);
}

#[tokio::test]
async fn other_clients_never_reach_entra() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    let other = "00000000-1111-2222-3333-444444444444";
    for changes in [
        &[("client_id", "")][..],
        &[("client_id", other)],
        &[("client_secret", "s")],
        &[("client_assertion", "a.b.c")],
    ] {
        is_refused(&flow.redeem("code", changes).await, 401, "invalid_client");
    }
    let basic = flow.with_header(Some(("authorization", "Basic YTpi")));
    let answer = basic.redeem("code", &[]).await;
    is_refused(&answer, 401, "invalid_client");
    assert!(
        answer
            .header("www-authenticate")
            .unwrap()
            .starts_with("Basic")
    );
    assert_eq!(world.entra.requests_to(Endpoint::Token).len(), 0);
}

#[tokio::test]
async fn incomplete_and_ambiguous_forms_never_reach_entra() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    for form in [
        &[("client_id", CLIENT_ID)][..],
        &[
            ("client_id", CLIENT_ID),
            ("grant_type", "authorization_code"),
        ],
        &[
            ("client_id", CLIENT_ID),
            ("grant_type", "authorization_code"),
            ("code", "x"),
            ("redirect_uri", CALLBACK),
        ],
        &[("client_id", CLIENT_ID), ("grant_type", "refresh_token")],
        &[
            ("client_id", CLIENT_ID),
            ("grant_type", "refresh_token"),
            ("grant_type", "password"),
            ("refresh_token", "x"),
        ],
        &[
            ("client_id", CLIENT_ID),
            ("grant_type", "refresh_token"),
            ("refresh_token", "x"),
            ("scope", "openid"),
            ("scope", "Directory.ReadWrite.All"),
        ],
    ] {
        is_refused(&flow.post(form).await, 400, "invalid_request");
    }
    assert_eq!(world.entra.requests_to(Endpoint::Token).len(), 0);
}

#[tokio::test]
async fn only_forms_of_64_kib_are_read() {
    let world = World::usual().await;
    let form = |length: usize| {
        let start = format!("client_id={CLIENT_ID}&grant_type=refresh_token&refresh_token=");
        let rest = length - start.len();
        format!("{start}{}", "x".repeat(rest))
    };
    let post = |kind: &str, body: String| {
        let request = world.client().request(Method::POST, "/oauth2/token");
        send(request.header("content-type", kind.to_owned()).body(body))
    };
    let urlencoded = "application/x-www-form-urlencoded";
    let answer = post(urlencoded, form(64 * 1024 + 1)).await;
    is_refused(&answer, 413, "invalid_request");
    is_refused(
        &post("application/json", "{}".to_owned()).await,
        415,
        "invalid_request",
    );
    assert_eq!(world.entra.requests_to(Endpoint::Token).len(), 0);
    // At the limit it is Entra that refuses.
    assert_eq!(post(urlencoded, form(64 * 1024)).await.status, 400);
    assert_eq!(world.entra.requests_to(Endpoint::Token).len(), 1);

    let packed = world
        .client()
        .request(Method::POST, "/oauth2/token")
        .header("content-type", urlencoded)
        .header("content-encoding", "gzip")
        .body("x");
    is_refused(&send(packed).await, 415, "invalid_request");
    assert_eq!(world.get("/oauth2/token").await.status, 405);
}

#[tokio::test]
async fn the_alias_is_the_same_endpoint() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world).with_token_path("/token");
    let tokens = flow.tokens().await;
    assert_eq!(tokens["access_token"], tokens["id_token"]);
    is_refused(
        &flow
            .post(&[("client_id", CLIENT_ID), ("grant_type", "password")])
            .await,
        400,
        "unsupported_grant_type",
    );
}

#[tokio::test]
async fn what_entra_refuses_is_told_in_its_words() {
    let world = World::usual().await;
    let refusal = |answer: &Answer| -> Value {
        let body = answer.json();
        let text = body["error_description"].as_str().unwrap();
        let code = text.split(':').next().unwrap().to_owned();
        json!([answer.status, body["error"], body["error_codes"], code])
    };
    let straight = Flow::straight(&world).redeem("wrong", &[]).await;
    let through = Flow::through_gateway(&world).redeem("wrong", &[]).await;
    assert_eq!(refusal(&through), refusal(&straight));
    let outcome = "gateway_token_exchanges_total{outcome=\"refused\"}";
    assert_eq!(world.count(outcome), 1);
}
