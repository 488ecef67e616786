//! Bodies on their way: held and bounded on the way in, of any size on the way out.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::world::{
    Answer, Gateway, PATIENCE, Scripted, World,
    mcp::{call, initialize, initialized},
    send,
};

/// The largest request body, which is ToolHive's own limit.
const LIMIT: usize = 8 << 20;

/// A notification of exactly that many bytes.
fn padded(length: usize) -> String {
    let (head, tail) = (
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":""#,
        r#""}}"#,
    );
    let pad = length - head.len() - tail.len();
    format!("{head}{}{tail}", "x".repeat(pad))
}

/// A gateway before one backend that the test plays.
async fn before(upstream: &Scripted, tls: bool) -> World {
    let world = World::builder()
        .upstream("github", &[upstream.address()])
        .route("/mcp");
    if tls { world.tls() } else { world }.start().await
}

/// Posts text as JSON.
async fn post(gateway: &Gateway, token: &str, body: impl Into<String>) -> Answer {
    let request = gateway
        .mcp(Method::POST, "/mcp", Some(token), None)
        .header("content-type", "application/json")
        .body(body.into());
    send(request).await
}

/// The head of a POST over a bare connection.
fn head(token: &str, fields: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n{fields}\r\n\r\n"
    )
}

/// Cuts a body into chunks.
fn chunked(body: &str, size: usize) -> Vec<u8> {
    let mut wire = vec![];
    for piece in body.as_bytes().chunks(size) {
        wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

/// Reads until what came so far ends with `end`.
async fn read_until(client: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut bytes = vec![];
    while !bytes.ends_with(end.as_bytes()) {
        let read = timeout(PATIENCE, client.read_buf(&mut bytes)).await;
        assert_ne!(read.expect("an answer").unwrap(), 0, "{bytes:?}");
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn eight_mebibytes_pass_to_the_workload() {
    let world = World::usual().await;
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    let body = padded(LIMIT);
    let request = world
        .mcp(Method::POST, "/mcp", Some(&token), Some(&session))
        .header("content-type", "application/json")
        .body(body.clone());
    assert_eq!(send(request).await.status, 202);
    let seen = world.workloads[0].mcp_requests().pop().unwrap();
    assert!(seen.body == body, "byte for byte");
    let line = world.access_line(|line| line["received"] == LIMIT).await;
    assert_eq!(line["status"], 202);
}

#[tokio::test]
async fn one_byte_more_is_refused() {
    let upstream = Scripted::start();
    let world = before(&upstream, false).await;
    let token = world.token("alice");
    let body = padded(LIMIT + 1);
    let announced = format!(
        "{}{body}",
        head(&token, &format!("Content-Length: {}", body.len()))
    );
    let unannounced = [
        head(&token, "Transfer-Encoding: chunked").into_bytes(),
        chunked(&body, 1 << 20),
    ]
    .concat();
    for request in [announced.into_bytes(), unannounced] {
        let client = world.connect().await;
        let answer = refused(client, request).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("larger than the 8388608 bytes"), "{answer}");
    }
    assert!(upstream.is_left_alone());
    let refusals = "gateway_refusals_total{reason=\"body_too_large\",route=\"/mcp\"}";
    assert!((world.metric(refusals) - 2.0).abs() < f64::EPSILON);
}

/// Sends a request that is answered before it was read whole, and reads the answer.
async fn refused(client: TcpStream, request: Vec<u8>) -> String {
    let (mut reading, mut writing) = client.into_split();
    let sending = tokio::spawn(async move {
        // The gateway may stop reading.
        let _ = writing.write_all(&request).await;
        writing
    });
    let mut answer = vec![];
    let read = timeout(PATIENCE, async {
        while !answer.ends_with(b"}") {
            assert_ne!(reading.read_buf(&mut answer).await.unwrap(), 0);
        }
    });
    read.await.expect("an answer");
    sending.abort();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn one_byte_more_is_refused_over_http_2() {
    let upstream = Scripted::start();
    let world = before(&upstream, true).await;
    let request = world
        .mcp_h2(Method::POST, "/mcp", Some(&world.token("alice")), None)
        .header("content-type", "application/json")
        .body(padded(LIMIT + 1));
    assert_eq!(request.send().await.unwrap().status(), 413);
    assert!(upstream.is_left_alone());
}

#[tokio::test]
async fn the_limit_is_a_setting_of_the_route() {
    let world = World::builder()
        .workload("github")
        .route_with("/mcp", "request_body_limit: 1KiB")
        .start()
        .await;
    let token = world.token("alice");
    assert_eq!(post(&world, &token, padded(1024)).await.status, 202);
    let refused = post(&world, &token, padded(1025)).await;
    assert_eq!(refused.status, 413);
    assert_eq!(refused.error(), "invalid_request");
}

#[tokio::test]
async fn ten_mebibytes_come_back() {
    let world = World::builder()
        .workload("github")
        .route("/mcp")
        .tls()
        .start()
        .await;
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    let length = 10 << 20;
    let text = world
        .call_tool("/mcp", &token, &session, "large", &json!({"bytes": length}))
        .await;
    assert!(text.len() == length && text.bytes().all(|byte| byte == b'x'));
}

#[tokio::test]
async fn ten_mebibytes_come_back_however_they_are_framed() {
    let mut upstream = Scripted::start();
    let world = before(&upstream, true).await;
    let token = world.token("alice");
    let body: String = ('a'..='w').cycle().take(10 << 20).collect();
    let announced = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let unannounced = [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
        &chunked(&body, 100_000),
    ]
    .concat();
    for answer in [announced.as_bytes(), &unannounced] {
        for request in [
            world.mcp(Method::POST, "/mcp", Some(&token), None),
            world.mcp_h2(Method::POST, "/mcp", Some(&token), None),
        ] {
            let request = request.json(&call(1, "large", &json!({})));
            let (got, ()) = tokio::join!(send(request), async {
                upstream.asked().await.write(answer).await;
            });
            assert_eq!(got.status, 200);
            assert!(got.body == body, "byte for byte");
        }
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let mut upstream = Scripted::start();
    let world = before(&upstream, false).await;
    let token = world.token("alice");
    let body = call(1, "echo", &json!({})).to_string();
    let fields = format!("Expect: 100-continue\r\nContent-Length: {}", body.len());
    let mut client = world.connect().await;
    client
        .write_all(head(&token, &fields).as_bytes())
        .await
        .unwrap();
    let told = read_until(&mut client, "\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 100 "), "{told}");
    client.write_all(body.as_bytes()).await.unwrap();
    let mut asked = upstream.asked().await;
    assert_eq!(asked.body, body.as_bytes());
    assert_eq!(asked.header("expect"), None);
    asked.answer("{\"done\":true}").await;
    let answer = read_until(&mut client, "{\"done\":true}").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_asks_first_with_too_much_is_spared_the_upload() {
    let upstream = Scripted::start();
    let world = before(&upstream, false).await;
    let fields = format!("Expect: 100-continue\r\nContent-Length: {}", LIMIT + 1);
    let mut client = world.connect().await;
    let head = head(&world.token("alice"), &fields);
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "}").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_chunked_upload_reaches_the_workload_with_its_length() {
    let mut upstream = Scripted::start();
    let world = before(&upstream, false).await;
    let token = world.token("alice");
    let body = call(1, "echo", &json!({"text": "x".repeat(300_000)})).to_string();
    let request = [
        head(&token, "Transfer-Encoding: chunked").into_bytes(),
        chunked(&body, 7_001),
    ]
    .concat();
    let mut client = world.connect().await;
    client.write_all(&request).await.unwrap();
    let mut asked = upstream.asked().await;
    assert!(asked.body == body.as_bytes());
    assert_eq!(
        asked.header("content-length"),
        Some(body.len().to_string().as_str())
    );
    assert_eq!(asked.header("transfer-encoding"), None);
    asked.answer("{}").await;
    let answer = read_until(&mut client, "{}").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_upload_over_http_2_is_larger_than_its_window() {
    let mut upstream = Scripted::start();
    let world = before(&upstream, true).await;
    let token = world.token("alice");
    let message = call(1, "echo", &json!({"text": "x".repeat(2 << 20)}));
    let request = world
        .mcp_h2(Method::POST, "/mcp", Some(&token), None)
        .json(&message);
    let (answer, body) = tokio::join!(send(request), async {
        let mut asked = upstream.asked().await;
        asked.answer("{\"done\":true}").await;
        asked.body
    });
    assert_eq!(answer.version, reqwest::Version::HTTP_2);
    assert_eq!(answer.json()["done"], true);
    assert!(body == message.to_string().into_bytes());
}

#[tokio::test]
async fn what_is_no_json_is_refused_with_its_place() {
    let upstream = Scripted::start();
    let world = before(&upstream, false).await;
    let token = world.token("alice");
    for body in [
        "",
        "{",
        "hello",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"} {}",
        "{'jsonrpc':'2.0'}",
        "{\"id\":1,}",
        "\u{feff}{}",
        // Two readers could read these in two ways.
        "{\"id\":1,\"id\":2,\"method\":\"ping\"}",
        "{\"id\":1,\"method\":\"ping\",\"method\":\"initialize\"}",
        "{\"id\":1,\"method\":\"ping\",\"m\\u0065thod\":\"initialize\"}",
    ] {
        let answer = post(&world, &token, body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        let error = answer.json();
        assert_eq!(error["error"]["code"], -32700, "{body}");
        assert_eq!(error["id"], Value::Null);
        let text = error["error"]["message"].as_str().unwrap();
        assert!(text.contains("line 1, column "), "{body}: {text}");
    }
    assert!(upstream.is_left_alone());
}

#[tokio::test]
async fn a_batch_is_refused_by_the_workload_in_its_own_words() {
    let world = World::usual().await;
    let token = world.token("alice");
    let batch = json!([initialize(), initialized()]);
    let answer = world.rpc("/mcp", Some(&token), None, &batch).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json()["error"]["code"], -32600);
    let text = answer.json()["error"]["message"].to_string();
    assert!(text.contains("batch requests are not supported"), "{text}");
}

#[tokio::test]
async fn a_body_that_is_cut_short_reaches_nobody() {
    let upstream = Scripted::start();
    let world = before(&upstream, false).await;
    let mut client = world.connect().await;
    let request = format!(
        "{}{{\"id\":1",
        head(&world.token("alice"), "Content-Length: 100")
    );
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let line = world
        .access_line(|line| line["reason"] == "client_gone")
        .await;
    assert_eq!(line["status"], 0);
    assert!(upstream.is_left_alone());
}
