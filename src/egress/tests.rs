//! Whole exchanges over sockets.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use http::StatusCode;

use super::{
    testing::{Act, Server, certificate, reply, start_proxy},
    *,
};

fn direct() -> Egress {
    Egress::build(&Config::default()).unwrap()
}

async fn send(
    egress: &Egress,
    method: Method,
    url: &str,
    limits: Limits,
) -> Result<Response<Bytes>, EgressError> {
    let target = Target::parse(url).unwrap();
    let request = Request {
        body: match method {
            Method::POST => Bytes::from_static(b"grant_type=authorization_code&code=secret"),
            _ => Bytes::new(),
        },
        method,
        target: &target,
        headers: HeaderMap::new(),
    };
    egress.fetch(&request, limits).await
}

async fn get(egress: &Egress, url: &str) -> Result<Response<Bytes>, EgressError> {
    send(egress, Method::GET, url, Limits::default()).await
}

/// Serves one answer to every GET and returns what the client made of it.
async fn check(act: Act, expect: Result<&str, EgressError>) {
    let server = Server::start(move |_, _| act.clone()).await;
    let limits = Limits {
        total: Duration::from_secs(10),
        body: 64 * 1024,
        decoded: 64 * 1024,
    };
    let found = send(&direct(), Method::GET, &server.url("/"), limits).await;
    let found = found.map(|answer| String::from_utf8(answer.into_body().to_vec()).unwrap());
    assert_eq!(found, expect.map(str::to_owned));
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Server::start(|n, _| Act::Reply(reply(200, "", n.to_string().as_bytes()))).await;
    let egress = direct();
    for n in 0..5 {
        let answer = get(&egress, &server.url("/")).await.unwrap();
        assert_eq!(answer.body(), n.to_string().as_bytes());
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn any_status_is_an_answer_and_no_redirect_is_followed() {
    let server = Server::start(|_, _| Act::Reply(reply(302, "location: /other\r\n", b""))).await;
    let answer = get(&direct(), &server.url("/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn decodes_gzip_within_bounds() {
    let gzip = |plain: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        let body = encoder.finish().unwrap();
        Act::Reply(reply(200, "content-encoding: gzip\r\n", &body))
    };
    check(gzip(b"plain"), Ok("plain")).await;
    let limit = 64 * 1024;
    let bomb = gzip(&vec![b'a'; 4 * 1024 * 1024]);
    check(bomb, Err(EgressError::TooLarge { limit })).await;
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_an_error() {
    let mut cut = reply(200, "", b"0123456789");
    cut.truncate(cut.len() - 1);
    check(Act::Last(cut), Err(EgressError::Truncated)).await;
    check(
        Act::Last(b"HTTP/1.1 2".to_vec()),
        Err(EgressError::Truncated),
    )
    .await;
    let large = Act::Reply(reply(200, "", &vec![b'a'; 64 * 1024 + 1]));
    check(large, Err(EgressError::TooLarge { limit: 64 * 1024 })).await;
    let both = Act::Reply(reply(200, "transfer-encoding: chunked\r\n", b"0\r\n\r\n"));
    check(
        both,
        Err(EgressError::Protocol {
            what: "both transfer-encoding and content-length",
        }),
    )
    .await;
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let server = Server::start(|_, _| Act::Hang).await;
    let limits = Limits {
        total: Duration::from_millis(200),
        ..Limits::default()
    };
    let found = send(&direct(), Method::POST, &server.url("/"), limits).await;
    let after = limits.total;
    assert_eq!(found.unwrap_err(), EgressError::Timeout { after });
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/?code=secret", listener.local_addr().unwrap());
    drop(listener);
    let error = get(&direct(), &url).await.unwrap_err();
    assert_eq!(error.reason(), "unreachable");
    assert!(!error.to_string().contains("secret"), "{error}");
}

/// The server answers once, and closes the same connection on the next request it has read.
async fn closing_after_the_first() -> Server {
    Server::start(|n, _| match n {
        1 => Act::Last(Vec::new()),
        _ => Act::Reply(reply(200, "", b"ok")),
    })
    .await
}

#[tokio::test]
async fn a_get_is_repeated_when_a_kept_connection_ends() {
    let server = closing_after_the_first().await;
    let egress = direct();
    get(&egress, &server.url("/")).await.unwrap();
    get(&egress, &server.url("/")).await.unwrap();
    assert_eq!((server.requests(), server.connections()), (3, 2));
}

#[tokio::test]
async fn a_post_that_was_taken_is_never_repeated() {
    let server = closing_after_the_first().await;
    let egress = direct();
    get(&egress, &server.url("/")).await.unwrap();
    let found = send(&egress, Method::POST, &server.url("/"), Limits::default()).await;
    assert_eq!(found.unwrap_err().reason(), "unreachable");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_post_that_was_not_taken_may_be_repeated() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let egress = direct();
    let (stream, accepted) = tokio::join!(egress.connect(&target, None), listener.accept());
    // As when the server closes between the pool's look at the connection and the write.
    drop(accepted);
    let request = Request {
        method: Method::POST,
        target: &target,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"code=secret"),
    };
    assert!(!format!("{request:?}").contains("secret"));
    let sent = egress
        .once(stream.unwrap(), &request, Limits::default())
        .await;
    assert!(sent.is_err_and(|failure| failure.repeatable));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let server = Server::start(|_, _| Act::Last(reply(200, "", b"ok"))).await;
    let egress = direct();
    for _ in 0..3 {
        // No `connection: close` announces it; a POST must not notice either.
        let found = send(&egress, Method::POST, &server.url("/"), Limits::default()).await;
        assert_eq!(found.unwrap().body(), "ok");
    }
    assert_eq!(server.requests(), 3);
}

/// An egress whose proxy is at `proxy`, trusting `ca`.
fn through(proxy: &Server, credentials: &str, ca: &str, no_proxy: &str) -> Egress {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(ca.as_bytes()).unwrap();
    Egress::build(&Config {
        https_proxy: format!("http://{credentials}{}", proxy.address),
        no_proxy: no_proxy.to_owned(),
        ca_file: Some(file.path().to_owned()),
        ..Config::default()
    })
    .unwrap()
}

const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

#[tokio::test]
async fn a_tunnel_is_opened_once_and_kept() {
    let (ca, tls) = certificate("login.test");
    let server = Server::start_tls(tls, |_, _| Act::Reply(reply(200, "", b"ok"))).await;
    let proxy = start_proxy(server.address, |head| {
        let (line, rest) = head.split_once("\r\n").unwrap();
        let known = line == "CONNECT login.test:443 HTTP/1.1"
            && rest.contains("Host: login.test:443\r\n")
            && rest.contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n");
        Some(if known {
            OPEN
        } else {
            "HTTP/1.1 400 No\r\n\r\n"
        })
    })
    .await;
    let egress = through(&proxy, "user:pass@", &ca, "");
    for _ in 0..4 {
        let answer = get(&egress, "https://login.test/keys").await.unwrap();
        assert_eq!(answer.body(), "ok");
    }
    assert_eq!((proxy.requests(), server.connections()), (1, 1));
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn a_certificate_of_another_name_or_authority_is_refused() {
    let (ca, tls) = certificate("login.test");
    let server = Server::start_tls(tls, |_, _| Act::Reply(reply(200, "", b"ok"))).await;
    let proxy = start_proxy(server.address, |_| Some(OPEN)).await;
    let (other, _) = certificate("login.test");
    for (ca, url) in [
        (&ca, "https://other.test/"),
        (&other, "https://login.test/"),
    ] {
        let error = get(&through(&proxy, "", ca, ""), url).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let refused = |reply: &'static str| async move {
        let proxy = start_proxy(([127, 0, 0, 1], 9).into(), move |_| Some(reply)).await;
        let (ca, _) = certificate("login.test");
        let error = get(&through(&proxy, "", &ca, ""), "https://login.test/").await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&proxy.address.to_string()), "{error}");
        error
    };
    let error = refused("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    assert!(error.contains("wants a user name"), "{error}");
    assert!(refused("HTTP/1.1 503 No\r\n\r\n").await.contains("503"));
    assert!(refused("nonsense\r\n\r\n").await.contains("HTTP"));
}

#[tokio::test]
async fn a_proxy_that_hangs_ends_at_the_connect_deadline() {
    let proxy = start_proxy(([127, 0, 0, 1], 9).into(), |_| None).await;
    let (ca, _) = certificate("login.test");
    let mut egress = through(&proxy, "", &ca, "");
    egress.connect = Duration::from_millis(200);
    let error = get(&egress, "https://login.test/").await.unwrap_err();
    assert!(error.to_string().contains("200 ms"), "{error}");
}

#[tokio::test]
async fn exceptions_are_reached_directly() {
    let (ca, tls) = certificate("localhost");
    let server = Server::start_tls(tls, |_, _| Act::Reply(reply(200, "", b"ok"))).await;
    let proxy = start_proxy(server.address, |_| Some(OPEN)).await;
    let egress = through(&proxy, "", &ca, "corp.test");
    let url = format!("https://localhost:{}/", server.address.port());
    get(&egress, &url).await.unwrap();
    assert_eq!(proxy.connections(), 0);
    let proxied = |url: &str| egress.proxy_for(&Target::parse(url).unwrap());
    assert_eq!(proxied("https://a.corp.test/"), None);
    assert_eq!(
        proxied("https://login.test/"),
        Some(proxy.address.to_string())
    );
}

#[test]
fn every_problem_of_the_section_is_reported() {
    let problems = Egress::build(&Config {
        https_proxy: "https://proxy.test:3128".into(),
        http_proxy: "proxy.test".into(),
        no_proxy: "10.0.0.0/99".into(),
        ca_file: Some("/nonexistent/ca.pem".into()),
    })
    .unwrap_err();
    let at: Vec<_> = problems.iter().map(|p| p.at.as_str()).collect();
    assert_eq!(at, ["https_proxy", "http_proxy", "no_proxy", "ca_file"]);
    assert!(problems[0].what.contains("TLS"), "{problems:?}");
}
