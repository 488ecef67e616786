//! The token endpoint when Entra is late, broken or gone: an OAuth error, never half an answer.

use std::time::Duration;

use mcp_gateway_emulator::entra::{CLIENT_ID, Endpoint, Fault};

use super::flow::Flow;
use crate::world::{Answer, Canned, World};

/// The usual world, with a token endpoint at `/quick` that waits for 300 ms only.
async fn world() -> World {
    World::builder()
        .workload("github")
        .route("/mcp")
        .yaml_route(&quick("{authority}/{tenant}/oauth2/v2.0/token"))
        .start()
        .await
}

fn quick(url: &str) -> String {
    format!(
        "{{ path: /quick, filters: [{{ check_token_request: {{ client_id: {CLIENT_ID} }} }}, \
         {{ swap_token: {{ scopes: [openid, offline_access] }} }}, \
         {{ exchange: {{ url: \"{url}\", timeout: 300ms, response_limit: 64KiB }} }}] }}"
    )
}

#[track_caller]
fn is_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.error(), error, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // A JWT begins so.
    assert!(!answer.body.contains("eyJ"), "{answer:?}");
    assert!(!answer.body.contains("access_token\":"), "{answer:?}");
}

/// Redeems a code at a tenant that fails so.
async fn redeem_with(world: &World, fault: Fault) -> Answer {
    let flow = Flow::through_gateway(world).with_token_path("/quick");
    let code = flow.code(&[]).await.unwrap();
    world.entra.heal();
    world.entra.fail_always(Endpoint::Token, fault);
    flow.redeem(&code, &[]).await
}

fn outcome(world: &World, outcome: &str) -> u64 {
    world.count(&format!(
        "gateway_token_exchanges_total{{outcome=\"{outcome}\"}}"
    ))
}

#[tokio::test]
async fn not_now_passes_with_its_retry_after() {
    let world = world().await;
    for status in [429, 503] {
        let fault = Fault::Unavailable {
            status,
            retry_after: Some(17),
        };
        let answer = redeem_with(&world, fault).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("17"));
        assert!(answer.body.contains("AADSTS90033"), "{answer:?}");
        assert_eq!(answer.error(), "temporarily_unavailable");
    }
    assert_eq!(outcome(&world, "unavailable"), 2);
}

#[tokio::test]
async fn other_failures_of_the_server_become_502() {
    let world = world().await;
    for status in [500, 502, 504] {
        let fault = Fault::Unavailable {
            status,
            retry_after: None,
        };
        let answer = redeem_with(&world, fault).await;
        is_error(&answer, 502, "server_error");
        assert!(!answer.body.contains("AADSTS"), "{answer:?}");
    }
    assert_eq!(outcome(&world, "server_error"), 3);
}

#[tokio::test]
async fn without_an_id_token_there_is_no_token() {
    let world = world().await;
    let answer = redeem_with(&world, Fault::NoIdToken).await;
    is_error(&answer, 502, "server_error");
    assert!(answer.body.contains("openid"), "{answer:?}");
}

#[tokio::test]
async fn an_id_token_that_cannot_be_read_is_no_token() {
    let world = world().await;
    for token in ["", "x", "a.b", "a.e30.c", "eyJ.not json.x"] {
        let answer = redeem_with(&world, Fault::IdToken(token.to_owned())).await;
        is_error(&answer, 502, "server_error");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_waited_for_no_longer_than_configured() {
    let world = world().await;
    for fault in [Fault::Hang, Fault::SlowBody(Duration::from_secs(5))] {
        let answer = redeem_with(&world, fault).await;
        is_error(&answer, 504, "server_error");
    }
    assert_eq!(outcome(&world, "timeout"), 2);
}

#[tokio::test]
async fn half_answers_are_none() {
    let world = world().await;
    for fault in [
        Fault::Truncated,
        Fault::HalfJson,
        Fault::NotJson,
        Fault::Refuse,
    ] {
        let answer = redeem_with(&world, fault).await;
        is_error(&answer, 502, "server_error");
    }
}

#[tokio::test]
async fn large_answers_are_none() {
    let world = world().await;
    let answer = redeem_with(&world, Fault::Padded(64 * 1024)).await;
    is_error(&answer, 502, "server_error");
}

#[tokio::test]
async fn compressed_and_chunked_answers_are_read() {
    let world = world().await;
    for fault in [Fault::Gzip, Fault::Chunked, Fault::Padded(1024)] {
        let answer = redeem_with(&world, fault).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.header("content-encoding").is_none());
        let tokens = answer.json();
        assert_eq!(tokens["access_token"], tokens["id_token"]);
    }
}

#[tokio::test]
async fn entra_that_is_gone_is_an_error_and_comes_back() {
    let world = world().await;
    let flow = Flow::through_gateway(&world);
    let code = flow.code(&[]).await.unwrap();
    world.entra.stop().await;
    is_error(&flow.redeem(&code, &[]).await, 502, "server_error");
    assert_eq!(outcome(&world, "unreachable"), 1);
    world.entra.start().unwrap();
    assert_eq!(flow.redeem(&code, &[]).await.status, 200);
}

/// A world whose `/quick` asks a server that says what a test wants.
async fn canned() -> (World, Canned) {
    let canned = Canned::start().await;
    let url = format!("http://{}/token", canned.address());
    let world = World::builder().yaml_route(&quick(&url)).start().await;
    (world, canned)
}

async fn refresh(world: &World) -> Answer {
    let flow = Flow::through_gateway(world).with_token_path("/quick");
    flow.refresh("r", &[]).await
}

#[tokio::test]
async fn every_other_member_keeps_its_bytes() {
    let (world, canned) = canned().await;
    let token = world.token("alice");
    canned.says_json(&format!(
        "{{ \"token_type\" :\"Bearer\",\"x\":1.50e+2, \"scope\":\"openid https://graph/.default offline_access\",\n\
         \"access_token\":\"graph\", \"y\":[\"\\u00e4\\/\",{{\"a\" : null}}],\"id_token\":\"{token}\", \
         \"refresh_token\" : \"1.A\\/b\"\t, \"expires_in\":5000 , \"ext_expires_in\" : 6000}}"
    ));
    let answer = refresh(&world).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let lifetime = answer.json()["expires_in"].as_i64().unwrap();
    assert!((3530..=3540).contains(&lifetime), "{lifetime}");
    assert_eq!(
        answer.body,
        format!(
            "{{ \"token_type\" :\"Bearer\",\"x\":1.50e+2, \"scope\":\"openid offline_access\",\n\
             \"access_token\":\"{token}\", \"y\":[\"\\u00e4\\/\",{{\"a\" : null}}],\"id_token\":\"{token}\", \
             \"refresh_token\" : \"1.A\\/b\"\t, \"expires_in\":{lifetime} , \"ext_expires_in\" : {lifetime}}}"
        )
    );
}

#[tokio::test]
async fn an_answer_that_can_be_read_in_two_ways_is_none() {
    let (world, canned) = canned().await;
    let token = world.token("alice");
    for body in [
        format!(
            "{{\"token_type\":\"Bearer\",\"access_token\":\"eyJ\",\"id_token\":\"{token}\",\"access_token\":\"eyJ\"}}"
        ),
        format!("[\"{token}\"]"),
        format!("{{\"token_type\":\"DPoP\",\"access_token\":\"eyJ\",\"id_token\":\"{token}\"}}"),
        format!("{{\"token_type\":\"Bearer\",\"id_token\":\"{token}\"}}"),
        "{\"token_type\":\"Bearer\",\"access_token\":\"eyJ\",\"id_token\":{}}".to_owned(),
        String::new(),
    ] {
        canned.says_json(&body);
        is_error(&refresh(&world).await, 502, "server_error");
    }
}

#[tokio::test]
async fn an_expired_id_token_is_not_handed_out() {
    let (world, canned) = canned().await;
    for left in [-10, 0, 59] {
        let token = world.entra.token("alice").expires_in(left).build();
        canned.says_json(&format!(
            "{{\"token_type\":\"Bearer\",\"access_token\":\"eyJ\",\"id_token\":\"{token}\",\"expires_in\":9}}"
        ));
        is_error(&refresh(&world).await, 502, "server_error");
    }
}

#[tokio::test]
async fn answers_that_are_no_http_are_none() {
    let (world, canned) = canned().await;
    for said in [
        "",
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"access_token\":\"eyJ",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: x\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"acc",
        "HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n",
    ] {
        canned.says(said);
        is_error(&refresh(&world).await, 502, "server_error");
    }
}

#[tokio::test]
async fn a_token_request_is_never_sent_twice_once_it_was_heard() {
    let (world, canned) = canned().await;
    canned.says("");
    is_error(&refresh(&world).await, 502, "server_error");
    assert_eq!(canned.requests().len(), 1);
    let request = &canned.requests()[0];
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
}

/// A route of the operator's own may hold nothing but the exchange: its form is read all the same.
#[tokio::test]
async fn an_exchange_reads_its_form_itself() {
    let world = World::builder()
        .yaml_route(
            "{ path: /bare, filters: [{ exchange: { url: \"{authority}/{tenant}/oauth2/v2.0/token\" } }] }",
        )
        .start()
        .await;
    let fields = [("grant_type", "refresh_token"), ("client_id", CLIENT_ID)];
    world.post_form("/bare", &fields).await;
    let seen = world.entra.requests_to(Endpoint::Token);
    assert_eq!(
        seen[0].field("grant_type").as_deref(),
        Some("refresh_token")
    );
    let long = "x".repeat(65 * 1024);
    let answer = world.post_form("/bare", &[("code", &long)]).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(world.entra.requests_to(Endpoint::Token).len(), 1);
}
