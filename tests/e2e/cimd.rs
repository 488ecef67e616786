//! Clients whose id is the URL of a document that describes them (MCP 2026-07-28).

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use mcp_gateway_emulator::{client::SignedIn, entra::Endpoint};
use reqwest::Method;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::world::{Authority, Builder, World, send};

/// What lets documents come from this machine.
const INSIDE: &str = "client_id_metadata: { networks: [127.0.0.0/8, \"::1/128\"] }";
const CALLBACK: &str = "http://localhost:3118/callback";
/// RFC 7636, appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A web site with one document; it ends when it is dropped.
struct Site {
    url: String,
    /// The authority of its certificate, as a file.
    ca: String,
    document: Arc<Mutex<(u16, Value)>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Site {
    async fn start() -> Self {
        crate::world::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::shared();
        authority.write(folder.path(), "site", &["localhost".to_owned()]);
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, authority.pem()).unwrap();
        let certificate = CertificateDer::from_pem_file(folder.path().join("site.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.path().join("site.key")).unwrap();
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("https://localhost:{port}/client.json");
        let document = json!({
            "client_id": url,
            "client_name": "Assistant of Example",
            "redirect_uris": ["http://localhost/callback", "https://elsewhere.example/cb"],
            "token_endpoint_auth_method": "none",
        });
        let document = Arc::new(Mutex::new((200, document)));
        let connections = Arc::<AtomicUsize>::default();
        let (served, counted) = (Arc::clone(&document), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = tls.accept(stream).await else {
                    continue;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let (status, body) = served.lock().unwrap().clone();
                let body = body.to_string();
                let answer = format!(
                    "HTTP/1.1 {status} Test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self {
            url,
            ca: ca.display().to_string(),
            document,
            connections,
            task,
            _folder: folder,
        }
    }

    fn says(&self, status: u16, document: Value) {
        *self.document.lock().unwrap() = (status, document);
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// A gateway that trusts the site's certificate.
    fn world(&self, settings: &str) -> Builder {
        World::builder()
            .provider(settings)
            .section(&format!("egress: {{ ca_file: \"{}\" }}", self.ca))
            .workload("github")
            .route("/mcp")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn authorization(client_id: &str, redirect_uri: &str) -> String {
    let params = [
        ("client_id", client_id),
        ("response_type", "code"),
        ("redirect_uri", redirect_uri),
        ("scope", "openid"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let url = Url::parse_with_params("http://gateway/oauth2/authorize", params).unwrap();
    format!("{}?{}", url.path(), url.query().unwrap())
}

#[tokio::test]
async fn a_client_that_describes_itself_signs_in() {
    let site = Site::start().await;
    let world = site.world(INSIDE).start().await;
    let published = world.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(
        published.json()["client_id_metadata_document_supported"],
        true
    );
    let client = SignedIn::builder(format!("{}/mcp", world.public_url()))
        .person("alice")
        .client_id(&site.url)
        .connect()
        .await
        .unwrap();
    let echo = json!({"text": "hi"});
    assert_eq!(client.call_text("echo", echo).await.unwrap(), "hi");
    client.refresh().await.unwrap();
    client.close().await;
    assert_eq!(site.connections(), 1, "the document is kept");
    for seen in world.entra.requests_to(Endpoint::Authorize) {
        assert_eq!(
            seen.param("client_id").as_deref(),
            Some(world.entra.client_id())
        );
    }
    for seen in world.entra.requests_to(Endpoint::Token) {
        assert_eq!(
            seen.field("client_id").as_deref(),
            Some(world.entra.client_id())
        );
    }
    assert_eq!(
        world.count("gateway_client_documents_total{outcome=\"fetched\"}"),
        1
    );
}

#[tokio::test]
async fn documents_count_for_nothing_unless_they_are_switched_on() {
    let site = Site::start().await;
    let world = site.world("client_id_metadata: false").start().await;
    let published = world.get("/.well-known/oauth-authorization-server").await;
    let supported = "client_id_metadata_document_supported";
    assert!(published.json().get(supported).is_none());
    let answer = world.get(&authorization(&site.url, CALLBACK)).await;
    assert_eq!(answer.status, 400);
    assert_eq!(site.connections(), 0);
}

#[tokio::test]
async fn no_address_inside_is_called_for_a_stranger() {
    let site = Site::start().await;
    let world = site.world("client_id_metadata: true").start().await;
    let port = Url::parse(&site.url).unwrap().port().unwrap();
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "169.254.169.254",
    ] {
        let url = format!("https://{host}:{port}/client.json");
        let answer = world.get(&authorization(&url, CALLBACK)).await;
        assert_eq!(answer.status, 400, "{url} {answer:?}");
        assert!(answer.body.contains("public addresses"), "{answer:?}");
        assert!(answer.header("location").is_none());
    }
    assert_eq!(site.connections(), 0);
}

#[tokio::test]
async fn a_client_returns_to_what_its_document_names_and_the_gateway_allows() {
    let site = Site::start().await;
    let world = site.world(INSIDE).start().await;
    let status = async |uri: &str| world.get(&authorization(&site.url, uri)).await.status;
    assert_eq!(status("http://localhost:9/callback").await, 302);
    assert_eq!(status("http://localhost:9/other").await, 400);
    assert_eq!(
        status("https://vscode.dev/redirect").await,
        400,
        "allowed, not named"
    );
    assert_eq!(
        status("https://elsewhere.example/cb").await,
        400,
        "named, not allowed"
    );
}

#[tokio::test]
async fn a_relay_shows_who_vouches_for_a_client() {
    let site = Site::start().await;
    let settings = format!("authorize: relay, {INSIDE}");
    let world = site.world(&settings).start().await;
    let answer = world.get(&authorization(&site.url, CALLBACK)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("Assistant of Example"), "{answer:?}");
    assert!(answer.body.contains("localhost"), "{answer:?}");
}

#[tokio::test]
async fn a_program_is_told_whether_its_document_will_do_later() {
    let site = Site::start().await;
    let world = site.world(INSIDE).start().await;
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "r"),
        ("client_id", &site.url),
    ];
    let asked = async |form: &[(&str, &str)]| {
        let request = world.client().request(Method::POST, "/oauth2/token");
        send(request.form(form)).await
    };
    site.says(503, json!({}));
    let answer = asked(&form).await;
    assert_eq!(
        (answer.status, &*answer.error()),
        (503, "temporarily_unavailable")
    );
    assert_eq!(world.entra.requests_to(Endpoint::Token).len(), 0);

    let other = Site::start().await;
    other.says(200, json!({"client_id": "https://elsewhere.example/c"}));
    let answer = asked(&[form[0], form[1], ("client_id", &other.url)]).await;
    assert_eq!((answer.status, &*answer.error()), (401, "invalid_client"));
    assert_eq!(world.entra.requests_to(Endpoint::Token).len(), 0);
}
