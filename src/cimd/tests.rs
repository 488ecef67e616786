//! Documents against servers that answer as a test tells them to.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::egress::{
    self,
    testing::{Act, Server, certificate, reply, start_proxy},
};

const NOW: u64 = 1_800_000_000;

/// A server of documents on loopback, and the documents fetched from it.
struct World {
    server: Server,
    documents: Arc<Documents>,
    url: String,
    _ca: tempfile::NamedTempFile,
}

/// Serves what `answer` makes of the number of a request and the URL of the document.
async fn world(
    config: &Config,
    answer: impl Fn(usize, &str) -> Act + Send + Sync + 'static,
) -> World {
    let (pem, tls) = certificate("localhost");
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), pem).unwrap();
    let url = Arc::new(std::sync::OnceLock::<String>::new());
    let known = Arc::clone(&url);
    let server =
        Server::start_tls(tls, move |number, _| answer(number, known.get().unwrap())).await;
    let port = server.address.port();
    url.set(format!("https://localhost:{port}/client.json"))
        .unwrap();
    let egress = egress::Config {
        ca_file: Some(ca.path().to_owned()),
        ..egress::Config::default()
    };
    let egress = Arc::new(Egress::build(&egress).unwrap());
    World {
        documents: Arc::new(Documents::new(config, egress, &Metrics::new())),
        url: url.get().unwrap().clone(),
        server,
        _ca: ca,
    }
}

/// Lets documents come from this machine.
fn inside() -> Config {
    Config {
        networks: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        ..Config::default()
    }
}

fn document(url: &str, headers: &str) -> Act {
    let body = json!({"client_id": url, "redirect_uris": ["http://localhost/cb"]});
    let headers = format!("content-type: application/json\r\n{headers}");
    Act::Reply(reply(200, &headers, body.to_string().as_bytes()))
}

impl World {
    async fn resolve(&self, now: u64) -> Result<Arc<Document>, Error> {
        self.documents.resolve(&self.url, now).await
    }
}

#[tokio::test]
async fn a_document_is_fetched_once_and_kept_as_long_as_its_server_says() {
    let world = world(&inside(), |_, url| {
        document(url, "cache-control: public, max-age=600\r\n")
    })
    .await;
    let client = world.resolve(NOW).await.unwrap();
    assert_eq!(client.client_id, world.url);
    assert_eq!(world.resolve(NOW + 599).await.unwrap(), client);
    assert_eq!(world.server.requests(), 1);
    world.resolve(NOW + 600).await.unwrap();
    assert_eq!(world.server.requests(), 2);
    assert_eq!(world.server.connections(), 2, "no connection is kept");
}

#[tokio::test]
async fn those_who_ask_at_once_share_one_fetch() {
    let world = world(&inside(), |_, url| document(url, "")).await;
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let (documents, url) = (Arc::clone(&world.documents), world.url.clone());
            tokio::spawn(async move { documents.resolve(&url, NOW).await })
        })
        .collect();
    for one in asking {
        one.await.unwrap().unwrap();
    }
    assert_eq!(world.server.requests(), 1);
}

#[tokio::test]
async fn nothing_inside_the_house_is_called() {
    let world = world(&Config::default(), |_, url| document(url, "")).await;
    assert_eq!(world.resolve(NOW).await.unwrap_err(), Error::Address);
    for host in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[fd00:ec2::254]",
    ] {
        let url = format!("https://{host}:{}/c", world.server.address.port());
        let refused = world.documents.resolve(&url, NOW).await.unwrap_err();
        assert_eq!(refused, Error::Address, "{url}");
    }
    assert_eq!(world.server.connections(), 0);
}

#[tokio::test]
async fn only_hosts_that_are_named_are_called() {
    let config = Config {
        hosts: serde_yaml::from_str("[claude.ai]").unwrap(),
        ..inside()
    };
    let world = world(&config, |_, url| document(url, "")).await;
    assert_eq!(world.resolve(NOW).await.unwrap_err(), Error::Host);
    assert_eq!(world.server.connections(), 0);
}

#[tokio::test]
async fn no_redirect_is_followed_and_refusals_are_kept_for_a_minute() {
    let world = world(&inside(), |_, _| {
        Act::Reply(reply(302, "location: https://localhost/\r\n", b""))
    })
    .await;
    for now in [NOW, NOW + 59] {
        let refused = world.resolve(now).await.unwrap_err();
        assert_eq!(refused, Error::Status(StatusCode::FOUND));
        assert!(!refused.is_temporary());
    }
    assert_eq!(world.server.requests(), 1);
    world.resolve(NOW + 60).await.unwrap_err();
    assert_eq!(world.server.requests(), 2);
}

#[tokio::test]
async fn an_answer_that_is_no_document_is_refused() {
    let long = vec![b' '; LIMITS.body + 1];
    let (number, answers) = (
        AtomicUsize::new(0),
        [
            (
                reply(200, "content-type: text/html\r\n", b"{}"),
                Fault::Type,
            ),
            (
                reply(200, "content-type: application/json\r\n", b"[]"),
                Fault::Malformed,
            ),
            (
                reply(200, "content-type: application/json\r\n", &long),
                Fault::TooLarge,
            ),
            (
                reply(
                    200,
                    "content-type: application/json\r\n",
                    br#"{"client_id":"https://other.test/","redirect_uris":["http://localhost/"]}"#,
                ),
                Fault::ClientId,
            ),
        ],
    );
    let expected: Vec<Fault> = answers.iter().map(|(_, fault)| *fault).collect();
    let world = world(&inside(), move |_, _| {
        let next = number.fetch_add(1, Ordering::SeqCst);
        Act::Last(answers[next].0.clone())
    })
    .await;
    for (index, fault) in expected.into_iter().enumerate() {
        let now = NOW + 60 * index as u64;
        let refused = world.resolve(now).await.unwrap_err();
        assert_eq!(refused, Error::Document(fault));
    }
}

#[tokio::test]
async fn a_document_outlives_its_servers_troubles_for_a_day() {
    let world = world(&inside(), |number, url| match number {
        0 => document(url, "cache-control: no-store\r\n"),
        _ => Act::Reply(reply(503, "", b"")),
    })
    .await;
    let client = world.resolve(NOW).await.unwrap();
    assert_eq!(world.resolve(NOW + FRESH_MIN).await.unwrap(), client);
    assert_eq!(world.server.requests(), 2);
    assert_eq!(
        world.resolve(NOW + FRESH_MIN + RETRY - 1).await.unwrap(),
        client
    );
    assert_eq!(world.server.requests(), 2, "not asked again at once");
    let refused = world.resolve(NOW + FRESH_MIN + STALE).await.unwrap_err();
    assert!(refused.is_temporary());
}

#[tokio::test]
async fn a_document_that_was_taken_back_is_gone() {
    let world = world(&inside(), |number, url| match number {
        0 => document(url, "cache-control: max-age=0\r\n"),
        _ => Act::Reply(reply(404, "", b"")),
    })
    .await;
    world.resolve(NOW).await.unwrap();
    let refused = world.resolve(NOW + FRESH_MIN).await.unwrap_err();
    assert_eq!(refused, Error::Status(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn behind_a_proxy_only_named_hosts_are_called() {
    let target = Server::start(|_, _| Act::Hang).await;
    let proxy = start_proxy(target.address, |_| Some("HTTP/1.1 502 No\r\n\r\n")).await;
    let egress = egress::Config {
        https_proxy: format!("http://{}", proxy.address),
        ..egress::Config::default()
    };
    let egress = Arc::new(Egress::build(&egress).unwrap());
    let documents = |config: &Config| Documents::new(config, Arc::clone(&egress), &Metrics::new());
    let url = "https://app.test/client.json";
    let refused = documents(&Config::default()).resolve(url, NOW).await;
    assert_eq!(refused.unwrap_err(), Error::Host);
    assert_eq!(proxy.requests(), 0);
    let config = Config {
        hosts: serde_yaml::from_str("[app.test]").unwrap(),
        ..Config::default()
    };
    let refused = documents(&config).resolve(url, NOW).await.unwrap_err();
    assert_eq!(refused, Error::Unreachable);
    assert_eq!(proxy.requests(), 1);
}

#[test]
fn what_a_server_says_of_freshness_is_taken_within_bounds() {
    let check = |value: &str, expect: u64| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, value.parse().unwrap());
        assert_eq!(lifetime(&headers), expect, "{value}");
    };
    check("max-age=600", 600);
    check("public, Max-Age=\"700\", immutable", 700);
    check("max-age=1", FRESH_MIN);
    check("max-age=99999999", FRESH_MAX);
    check("max-age=x", FRESH_MIN);
    check("max-age=600, no-store", FRESH_MIN);
    check("private", FRESH);
    assert_eq!(lifetime(&HeaderMap::new()), FRESH);
}
