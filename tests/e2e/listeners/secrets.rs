//! Nothing that could be a token, a code or a cookie is ever written anywhere.

use mcp_gateway_emulator::{
    entra::{CLIENT_ID, Endpoint, Fault},
    toolhive,
};
use reqwest::Method;
use serde_json::json;

use crate::world::{World, log, mcp, send};

/// Stands in every place where a client or a provider could put a secret. No other test sends it.
const PLANTED: &str = "PLANTED7f3a9c";

/// Looks for the secret in everything that was written, until `last` shows that all of it was.
async fn is_nowhere(world: &World, last: &str) {
    assert_eq!(world.get(last).await.status, 404);
    world.access_line(|line| line["path"] == last).await;
    let (access, logged) = (world.access_text(), log::text());
    for (place, text) in [("access log", access), ("log", logged)] {
        let line = text.lines().find(|line| line.contains(PLANTED));
        assert_eq!(line, None, "in the {place}");
    }
}

#[tokio::test]
async fn hostile_requests_leave_no_secret_behind() {
    let world = World::usual().await;
    let heads = [
        format!("GET /x?code={PLANTED} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        format!(
            "GET /oauth2/authorize?client_id={CLIENT_ID}&state={PLANTED}&code={PLANTED}&x=%zz HTTP/1.1\r\nHost: a.test\r\n\r\n"
        ),
        format!("GET /mcp?access_token={PLANTED} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        format!("GET /mcp HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {PLANTED}\r\n\r\n"),
        format!("GET /mcp HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic {PLANTED}\r\n\r\n"),
        format!(
            "GET /mcp HTTP/1.1\r\nHost: a.test\r\nCookie: s={PLANTED}\r\nMcp-Session-Id: {PLANTED}\r\n\r\n"
        ),
        format!("GET /mcp HTTP/1.1\r\nHost: a.test\r\nOrigin: https://{PLANTED}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {PLANTED} x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a.test\r\n{PLANTED}_x: 1\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {PLANTED}\x01\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization {PLANTED}\r\n\r\n"),
        format!("{PLANTED} / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        format!("GET / {PLANTED}\r\nHost: a.test\r\n\r\n"),
        format!(
            "POST /register HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{{\"redirect_uris\":[\"{PLANTED}\"],\"x\":"
        ),
        format!(
            "POST /mcp HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n{PLANTED}\r\n",
            world.token("alice")
        ),
    ];
    for head in heads {
        let mut stream = world.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes())
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream)
            .await
            .unwrap();
        let mut answer = vec![];
        // A client that leaves in the middle is answered by a reset.
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1 5"));
    }
    is_nowhere(&world, "/the/end").await;
}

#[tokio::test]
async fn sign_in_leaves_no_secret_behind_even_when_it_fails() {
    let world = World::usual().await;
    let form = [
        ("client_id", CLIENT_ID),
        ("grant_type", "authorization_code"),
        ("code", PLANTED),
        ("code_verifier", PLANTED),
        ("redirect_uri", "http://localhost:3118/callback"),
    ];
    let faults = [
        None,
        Some(Fault::NotJson),
        Some(Fault::Refuse),
        Some(Fault::IdToken(PLANTED.to_owned())),
        Some(Fault::Unavailable {
            status: 500,
            retry_after: None,
        }),
    ];
    for fault in faults {
        world.entra.heal();
        if let Some(fault) = fault {
            world.entra.fail_always(Endpoint::Token, fault);
        }
        assert!(world.post_form("/oauth2/token", &form).await.status >= 400);
    }
    world.entra.stop().await;
    assert_eq!(world.post_form("/oauth2/token", &form).await.status, 502);
    for (name, value) in [
        ("password", PLANTED),
        ("client_secret", PLANTED),
        (PLANTED, PLANTED),
    ] {
        let form = [
            ("client_id", CLIENT_ID),
            ("grant_type", "password"),
            (name, value),
        ];
        assert!(world.post_form("/token", &form).await.status >= 400);
    }
    let registration = json!({"redirect_uris": [PLANTED], "client_name": PLANTED});
    world.post_json("/register", &registration).await;
    is_nowhere(&world, "/the/end").await;
}

#[tokio::test]
async fn calls_leave_no_secret_behind_even_when_the_workload_fails() {
    let world = World::builder()
        .workload("github")
        .route("/mcp")
        .workloads_without_oidc()
        .start()
        .await;
    let workload = &world.workloads[0];
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    let message = mcp::call(1, "echo", &json!({"text": PLANTED}));
    for fault in [
        None,
        Some(toolhive::Fault::Unauthorized),
        Some(toolhive::Fault::Cut),
        Some(toolhive::Fault::CutAfter(5)),
        Some(toolhive::Fault::Status(500)),
    ] {
        workload.heal();
        if let Some(fault) = fault {
            workload.fault(fault);
        }
        let request = world
            .mcp(
                Method::POST,
                &format!("/mcp?key={PLANTED}"),
                Some(&token),
                Some(&session),
            )
            .header("x-api-key", PLANTED)
            .header("cookie", PLANTED)
            .json(&message);
        // Some of these answers are cut on purpose.
        let _ = request.send().await;
    }
    workload.kill().await;
    world
        .rpc("/mcp", Some(&token), Some(&session), &message)
        .await;
    let other = world
        .rpc("/mcp", Some(&token), Some(PLANTED), &message)
        .await;
    assert!(other.status >= 400, "{other:?}");
    send(world.mcp(Method::DELETE, "/mcp", Some(&token), Some(&session))).await;
    is_nowhere(&world, "/the/end").await;
    let signature = token.rsplit_once('.').unwrap().1;
    assert!(!log::text().contains(signature) && !world.access_text().contains(signature));
    assert!(!log::text().contains(&session) && !world.access_text().contains(&session));
}
