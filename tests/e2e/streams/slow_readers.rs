//! What a client that does not read costs: kernel buffers, and next to nothing of the process.
//!
//! Memory is a matter of the whole process, so the measurement runs in one of its own: this
//! program once more, with the one test that is ignored otherwise.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpSocket, task::JoinSet, time::timeout};

use super::{Http, before};
use crate::world::{Asked, Scripted, World, mcp::call};

/// What one stream may cost the process, kernel buffers aside.
const LIMIT: usize = 256 * 1024;
/// Streams that make everything grow that only grows once.
const WARM: usize = 3;
/// Streams that are measured.
const STREAMS: usize = 8;
/// More than the kernel's buffers on the way can hold.
const FLOOD: usize = 64 * 1024 * 1024;
/// Who writes nothing for that long is blocked.
const BLOCKED: Duration = Duration::from_millis(300);

#[test]
fn a_slow_reader_costs_kernel_buffers_only() {
    let children = ["over_http_1", "over_http_2"].map(|test| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture"])
            .arg(format!("streams::slow_readers::{test}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{errors}");
        assert!(text.contains("1 passed"), "{text}");
    }
}

#[tokio::test]
#[ignore = "needs a process of its own: see `a_slow_reader_costs_kernel_buffers_only`"]
async fn over_http_1() {
    let mut upstream = Scripted::start_with_small_buffers();
    let world = World::builder()
        .upstream("github", &[upstream.address()])
        .route("/mcp")
        .start()
        .await;
    let token = world.token("alice");
    let body = call(1, "large", &json!({})).to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut clients = vec![];
    let mut backends = JoinSet::new();
    let mut held = vec![];
    let mut before = 0;
    for count in [WARM, STREAMS] {
        before = resident();
        for _ in 0..count {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(16 * 1024).unwrap();
            let mut client = socket.connect(world.addresses()[0]).await.unwrap();
            client.write_all(request.as_bytes()).await.unwrap();
            clients.push(client);
            backends.spawn(flood(upstream.asked().await));
        }
        held.extend(blocked(&mut backends).await);
    }
    check("HTTP/1.1", before);
}

#[tokio::test]
#[ignore = "needs a process of its own: see `a_slow_reader_costs_kernel_buffers_only`"]
async fn over_http_2() {
    let mut upstream = Scripted::start_with_small_buffers();
    let world = before(&upstream).await;
    let token = world.token("alice");
    let mut clients = JoinSet::new();
    let mut backends = JoinSet::new();
    let mut held = vec![];
    let mut before = 0;
    for count in [WARM, STREAMS] {
        before = resident();
        for _ in 0..count {
            let request = Http::Two
                .mcp(&world, Method::POST, &token, None)
                .json(&call(1, "large", &json!({})));
            // Each may fill its own window in this process, and no more: however long the first
            // take, the others find the same. Responses are held, unread, as long as the set is.
            clients.spawn(request.send());
            backends.spawn(flood(upstream.asked().await));
        }
        held.extend(blocked(&mut backends).await);
    }
    check("HTTP/2", before);
}

/// Answers with events until nobody takes more, and holds the connection.
async fn flood(mut asked: Asked) -> Asked {
    let event = format!("data: {}\n\n", "x".repeat(16 * 1024 - 8));
    let chunk = format!("{:x}\r\n{event}\r\n", event.len()).into_bytes();
    asked.begin_stream().await;
    for _ in 0..FLOOD / chunk.len() {
        match timeout(BLOCKED, asked.try_write(&chunk)).await {
            Ok(taken) => assert!(taken, "the gateway closed the connection"),
            Err(_) => return asked,
        }
    }
    panic!("the backend is never held back");
}

/// Waits until every backend is blocked, and returns their connections to be held.
async fn blocked(backends: &mut JoinSet<Asked>) -> Vec<Asked> {
    let mut held = vec![];
    while let Some(backend) = backends.join_next().await {
        held.push(backend.unwrap());
    }
    held
}

fn check(http: &str, before: usize) {
    let grown = resident().saturating_sub(before);
    let each = grown / STREAMS;
    println!("{http}: {} KiB for each stream", each / 1024);
    assert!(each <= LIMIT, "{http}: {each} bytes for each stream");
}

/// The memory of this process that is in RAM, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}
