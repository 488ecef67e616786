//! Health, what stands beside the messages, and what a workload can be told to do wrong.

use mcp_gateway_emulator::toolhive::Fault;
use reqwest::Method;
use serde_json::json;

use super::{BOTH, INITIALIZE, call, github, post, request, session};
use crate::http::{PATIENCE, client, send};

#[tokio::test]
async fn other_methods_and_paths_are_refused_in_words() {
    let workload = github().await;
    let seen = send(request(&workload, Method::PUT, None)).await;
    assert_eq!(
        (seen.status, seen.body.as_str()),
        (405, "Method not allowed\n")
    );
    for path in ["/", "/mcp/", "/sse"] {
        let url = format!("http://{}{path}", workload.address());
        let seen = send(client().get(url)).await;
        assert_eq!(
            (seen.status, seen.body.as_str()),
            (404, "404 page not found\n")
        );
    }
}

#[tokio::test]
async fn health_says_that_the_proxy_lives() {
    let workload = github().await;
    let url = format!("http://{}/health", workload.address());
    let seen = send(client().get(&url)).await;
    assert_eq!(seen.status, 200);
    assert_eq!(seen.json()["status"], "healthy");
    assert_eq!(seen.json()["transport"], "streamable-http");
    assert_eq!(send(client().post(&url)).await.status, 405);
    workload.fault(Fault::Degraded);
    let seen = send(client().get(&url)).await;
    assert_eq!(
        (seen.status, seen.json()["status"].as_str()),
        (200, Some("degraded"))
    );
    workload.heal();
    workload.fault(Fault::ManagementHealth);
    let seen = send(client().get(&url)).await;
    assert_eq!(seen.status, 204);
    assert!(seen.header("x-toolhive-nonce").is_some());
}

#[tokio::test]
async fn without_sign_in_there_is_no_metadata() {
    let workload = github().await;
    for path in ["oauth-protected-resource", "oauth-authorization-server"] {
        let url = format!("http://{}/.well-known/{path}", workload.address());
        let seen = send(client().get(url)).await;
        assert_eq!(
            (seen.status, seen.body.trim()),
            (404, r#"{"error":"not_found"}"#)
        );
    }
    let url = format!("http://{}/metrics", workload.address());
    assert_eq!(send(client().get(url)).await.status, 404);
}

#[tokio::test]
async fn a_foreign_origin_gets_403() {
    let workload = github().await;
    for (origin, expected) in [
        (format!("http://{}", workload.address()), 200),
        (
            format!("http://localhost:{}", workload.address().port()),
            200,
        ),
        ("http://localhost:6274".to_owned(), 403),
        ("https://gateway.example".to_owned(), 403),
    ] {
        let request = request(&workload, Method::POST, None)
            .header("origin", origin)
            .body(INITIALIZE);
        let seen = send(request).await;
        assert_eq!(seen.status, expected);
        if expected == 403 {
            assert_eq!(
                seen.body,
                r#"{"error":{"code":-32600,"message":"Origin not allowed"},"jsonrpc":"2.0"}"#
            );
        }
    }
}

#[tokio::test]
async fn faults_do_what_they_say() {
    let workload = github().await;
    let session = session(&workload).await;
    let echo = call(1, "echo", &json!({"text": "grüße"}));
    let good = post(&workload, Some(&session), BOTH, &echo).await;

    workload.fault_times(Fault::Torn, 1);
    let torn = post(&workload, Some(&session), BOTH, &echo).await;
    assert_eq!(torn.body, good.body);

    workload.fault_times(Fault::Status(502), 1);
    assert_eq!(
        post(&workload, Some(&session), BOTH, &echo).await.status,
        502
    );

    workload.fault_times(Fault::Unauthorized, 1);
    assert_eq!(
        post(&workload, Some(&session), BOTH, &echo).await.status,
        401
    );

    workload.fault_times(Fault::CutAfter(10), 1);
    let answer = request(&workload, Method::POST, Some(&session))
        .header("accept", BOTH)
        .body(echo.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap_err();

    workload.fault_times(Fault::Cut, 1);
    let cut = request(&workload, Method::POST, Some(&session)).body(echo.clone());
    cut.send().await.unwrap_err();
    assert_eq!(
        post(&workload, Some(&session), BOTH, &echo).await.status,
        200
    );
}

#[tokio::test]
async fn a_hanging_server_is_healthy_to_look_at() {
    let workload = github().await;
    let session = session(&workload).await;
    workload.fault(Fault::Hang);
    let body = call(1, "fail", &json!({}));
    let asking = post(&workload, Some(&session), BOTH, &body);
    let arrived = workload.wait_for(PATIENCE, |request| request.body == body);
    tokio::select! {
        answer = asking => panic!("{answer:?}"),
        arrived = arrived => assert!(arrived.is_some()),
    }
    let url = format!("http://{}/health", workload.address());
    assert_eq!(send(client().get(url)).await.status, 200);
    let left = |seen: &[mcp_gateway_emulator::toolhive::Disconnect]| !seen.is_empty();
    assert!(workload.wait_for_disconnects(PATIENCE, left).await);
}
