//! Sessions, and the streams that belong to them.

use std::time::Duration;

use futures::StreamExt;
use mcp_gateway_emulator::toolhive::Workload;
use reqwest::Method;
use serde_json::json;

use super::{BOTH, UNKNOWN, call, github, post, request, session};
use crate::http::{PATIENCE, client, send};

#[tokio::test]
async fn get_and_delete_need_a_session_that_is_known() {
    let workload = github().await;
    let refused = [
        (
            Method::GET,
            "Mcp-Session-Id header required for standalone SSE\n",
        ),
        (
            Method::DELETE,
            "Mcp-Session-Id header required for DELETE\n",
        ),
    ];
    for (method, words) in refused {
        let seen = send(request(&workload, method.clone(), None)).await;
        assert_eq!((seen.status, seen.body.as_str()), (400, words));
        let seen = send(request(&workload, method, Some(UNKNOWN))).await;
        assert_eq!(seen.status, 404);
        assert_eq!(
            seen.body,
            r#"{"error":{"code":-32001,"message":"Session not found"},"jsonrpc":"2.0"}"#
        );
    }
    let session = session(&workload).await;
    let seen = send(request(&workload, Method::DELETE, Some(&session))).await;
    assert_eq!((seen.status, seen.body.as_str()), (204, ""));
    assert!(workload.sessions().is_empty());
}

/// Opens the standalone stream of a session.
async fn listen(workload: &Workload, session: &str) -> reqwest::Response {
    let response = request(workload, Method::GET, Some(session))
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    response
}

#[tokio::test]
async fn a_stream_carries_notifications_and_comments() {
    let workload = Workload::builder("github")
        .keep_alive(Duration::from_millis(50))
        .start()
        .await
        .unwrap();
    let session = session(&workload).await;
    let mut stream = listen(&workload, &session).await.bytes_stream();
    let mut seen = String::new();
    let read = async {
        post(
            &workload,
            Some(&session),
            BOTH,
            &call(1, "notify", &json!({})),
        )
        .await;
        while !(seen.contains("notifications/tools/list_changed")
            && seen.contains(": keep-alive\n\n"))
        {
            let chunk = stream.next().await.unwrap().unwrap();
            seen.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
}

#[tokio::test]
async fn a_second_stream_ends_the_first_and_a_delete_the_second() {
    let workload = github().await;
    let session = session(&workload).await;
    let first = listen(&workload, &session).await;
    let second = listen(&workload, &session).await;
    assert_eq!(first.text().await.unwrap(), "");
    send(request(&workload, Method::DELETE, Some(&session))).await;
    assert_eq!(second.text().await.unwrap(), "");
    assert!(workload.disconnects().is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let workload = github().await;
    let session = session(&workload).await;
    drop(listen(&workload, &session).await);
    let left = |method: Method| {
        let session = session.clone();
        move |seen: &[mcp_gateway_emulator::toolhive::Disconnect]| {
            seen.iter().any(|disconnect| {
                disconnect.method == method && disconnect.session.as_deref() == Some(&*session)
            })
        }
    };
    assert!(
        workload
            .wait_for_disconnects(PATIENCE, left(Method::GET))
            .await
    );
    for accept in [BOTH, "application/json"] {
        let before = workload.disconnects().len();
        let slow = request(&workload, Method::POST, Some(&session))
            .header("accept", accept)
            .body(call(1, "slow", &json!({"ms": 60_000})))
            .send();
        let seen = workload.wait_for(PATIENCE, |request| {
            request.header("accept") == Some(accept)
                && request.body.windows(4).any(|window| window == b"slow")
        });
        tokio::select! {
            // A streamed answer has its head at once; dropping it leaves.
            answered = slow => drop(answered),
            _ = seen => {}
        }
        let more = |seen: &[_]| seen.len() > before;
        assert!(
            workload.wait_for_disconnects(PATIENCE, more).await,
            "{accept}"
        );
    }
}

#[tokio::test]
async fn a_restart_loses_sessions_and_keeps_the_port() {
    let workload = github().await;
    let old = session(&workload).await;
    let address = workload.address();
    workload.kill().await;
    let refused = client().get(workload.url()).send().await.unwrap_err();
    assert!(refused.is_connect());
    workload.restart().await.unwrap();
    assert_eq!(workload.address(), address);
    let seen = post(
        &workload,
        Some(&old),
        BOTH,
        &call(1, "instance", &json!({})),
    )
    .await;
    assert_eq!(seen.status, 404);
    let new = session(&workload).await;
    let seen = post(
        &workload,
        Some(&new),
        BOTH,
        &call(1, "instance", &json!({})),
    )
    .await;
    assert!(seen.body.contains(r#"\"generation\":2"#), "{seen:?}");
}

#[tokio::test]
async fn a_session_that_is_not_used_is_forgotten() {
    let workload = Workload::builder("github")
        .session_ttl(Duration::from_millis(50))
        .start()
        .await
        .unwrap();
    let session = session(&workload).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    let seen = post(
        &workload,
        Some(&session),
        BOTH,
        &call(1, "fail", &json!({})),
    )
    .await;
    assert_eq!(seen.status, 404);
}
