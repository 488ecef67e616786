//! Nothing of a request that could be a secret is logged, however broken the request is.

use crate::{
    log,
    world::{Edge, ask},
};

/// Stands wherever a request can hold a secret.
const SECRET: &str = "c4n4ry-5ecret";

#[tokio::test]
async fn hostile_requests_leave_no_secret_behind() {
    log::capture();
    let limits = "limits: { head_timeout: 200ms, body_grace: 200ms, head_size: 4KiB }";
    let plain = Edge::start("", limits).await;
    let tls = Edge::start("TLS", limits).await;
    let s = SECRET;
    let fields = format!(
        "Host: a\r\nAuthorization: Bearer {s}\r\nCookie: {s}\r\nReferer: /?code={s}\r\nX-Mine: {s}\r\n"
    );
    let long = s.repeat(1000);
    let requests = [
        format!("GET /?code={s} HTTP/1.1\r\n{fields}\r\n"),
        format!("GET /?code={s} HTTP/1.1\r\n{fields}Host: {s}\r\n\r\n"),
        format!("GET /?code={s} HTTP/9.9\r\n{fields}\r\n"),
        format!("{s} / HTTP/1.1\r\n{fields}\r\n"),
        format!("PO {s} /mcp HTTP/1.1\r\n{fields}\r\n"),
        format!("GET /%2f?code={s} HTTP/1.1\r\n{fields}\r\n"),
        format!("GET /?code={s}\0 HTTP/1.1\r\n{fields}\r\n"),
        format!("GET /?code={s} HTTP/1.1\r\n{fields}{s}\r\n\r\n"),
        format!("GET /?code={s} HTTP/1.1\r\n{fields}{s}_x: 1\r\n\r\n"),
        format!("GET /?code={s} HTTP/1.1\r\n{fields}X: \x01{s}\r\n\r\n"),
        format!("GET /?code={s} HTTP/1.1\r\n{fields}Connection: {s}, host\r\n\r\n"),
        format!("GET /?code={s} HTTP/1.1\r\n{fields}Expect: {s}\r\n\r\n"),
        format!("GET /?code={s} HTTP/1.1\r\n{fields}Upgrade: {s}\r\n\r\n"),
        format!("GET /?code={s} HTTP/1.1\n{fields}\n"),
        format!("GET /?code={long} HTTP/1.1\r\n{fields}\r\n"),
        format!("POST / HTTP/1.1\r\n{fields}Content-Length: {s}\r\n\r\n{s}"),
        format!("POST / HTTP/1.1\r\n{fields}Content-Length: 999\r\n\r\n{s}"),
        format!("POST / HTTP/1.1\r\n{fields}Transfer-Encoding: {s}\r\n\r\n{s}"),
        format!("POST / HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n{s}\r\n"),
        format!("POST / HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n1;{s}\r\nxx"),
        format!("POST / HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n0\r\n{s}\r\n\r\n"),
        format!("GET /?code={s} HTTP/1.1\r\nAuthorization: Bearer {s}"),
        format!("\x16\x03\x01{s}"),
        format!("PROXY {s}\r\n"),
    ];
    for request in &requests {
        let answer = plain.ask(request.as_bytes()).await;
        assert!(
            !answer.text.contains(s) && !answer.text.contains("code="),
            "{}",
            answer.text
        );
        // Plain bytes where a handshake is expected, then the same within TLS.
        tls.ask(request.as_bytes()).await;
        let mut stream = tls.connect_tls("http/1.1").await;
        ask(&mut stream, request.as_bytes()).await;
        let mut stream = tls.connect_tls("h2").await;
        ask(&mut stream, request.as_bytes()).await;
    }
    let written = [log::text(), plain.access_log(), tls.access_log()];
    assert!(
        written[1].contains("\"path\":\"/\""),
        "the requests were logged"
    );
    for text in written {
        let found = text.lines().find(|line| line.contains(s));
        assert_eq!(found, None);
    }
    println!("{} requests, each four ways, no secret", requests.len());
}
