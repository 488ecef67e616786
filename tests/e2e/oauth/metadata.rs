//! Discovery: every document, everywhere a client looks for it.

use reqwest::Method;
use serde_json::json;

use crate::world::{Answer, World, send};

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: [&str; 2] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];

async fn two_routes() -> World {
    let world = World::builder().workload("github").route("/mcp");
    let world = world.workload("atlassian").route("/mcp/atlassian");
    world.start().await
}

fn is_open_document(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn every_form_of_resource_metadata_describes_its_route() {
    let world = two_routes().await;
    for (target, path) in [
        (RESOURCE.to_owned(), "/mcp"),
        (format!("{RESOURCE}/mcp"), "/mcp"),
        (format!("/mcp{RESOURCE}"), "/mcp"),
        (format!("{RESOURCE}/mcp/atlassian"), "/mcp/atlassian"),
        (format!("/mcp/atlassian{RESOURCE}"), "/mcp/atlassian"),
    ] {
        let answer = from_a_page(&world, &target).await;
        is_open_document(&answer);
        let document = answer.json();
        let resource = format!("{}{path}", world.public_url());
        assert_eq!(document["resource"], json!(resource), "{target}");
        assert_eq!(
            document["authorization_servers"],
            json!([world.public_url()])
        );
        assert_eq!(
            document["scopes_supported"],
            json!(["openid", "profile", "email"])
        );
        assert_eq!(document["bearer_methods_supported"], json!(["header"]));
    }
}

#[tokio::test]
async fn every_form_of_server_metadata_is_the_same_document() {
    let world = two_routes().await;
    let first = world.get(SERVER[0]).await;
    for name in SERVER {
        for target in [
            name.to_owned(),
            format!("{name}/mcp"),
            format!("/mcp{name}"),
            format!("{name}/mcp/atlassian"),
            format!("/mcp/atlassian{name}"),
        ] {
            let answer = from_a_page(&world, &target).await;
            is_open_document(&answer);
            assert_eq!(answer.body, first.body, "{target}");
        }
    }
    let document = first.json();
    let public = world.public_url();
    assert_eq!(document["issuer"], json!(public));
    for (member, path) in [
        ("authorization_endpoint", "/oauth2/authorize"),
        ("token_endpoint", "/oauth2/token"),
        ("registration_endpoint", "/register"),
    ] {
        assert_eq!(document[member], json!(format!("{public}{path}")));
    }
    assert_eq!(document["jwks_uri"], json!(world.entra.jwks_uri()));
    assert_eq!(
        document["code_challenge_methods_supported"],
        json!(["S256"])
    );
    let methods = &document["token_endpoint_auth_methods_supported"];
    assert!(methods.as_array().unwrap().contains(&json!("none")));
    assert_eq!(
        document["scopes_supported"],
        json!(["openid", "profile", "email", "offline_access"])
    );
}

#[tokio::test]
async fn the_issuer_is_byte_for_byte_what_resources_name() {
    let world = two_routes().await;
    let server = world.get(SERVER[0]).await;
    let resource = world.get(RESOURCE).await;
    let public = world.public_url();
    assert!(!public.ends_with('/'));
    assert!(server.body.contains(&format!("\"issuer\":\"{public}\"")));
    let servers = format!("\"authorization_servers\":[\"{public}\"]");
    assert!(resource.body.contains(&servers));
}

#[tokio::test]
async fn documents_name_the_public_url_whatever_a_client_says() {
    let world = World::builder()
        .workload("github")
        .route("/mcp")
        .public_url("https://mcp.example.com")
        .start()
        .await;
    for target in [RESOURCE, SERVER[0], SERVER[1]] {
        let usual = world.get(target).await;
        assert!(usual.body.contains("\"https://mcp.example.com"));
        let address = world.addresses()[0].to_string();
        assert!(!usual.body.contains(&address), "{usual:?}");
        let request = world
            .client()
            .request(Method::GET, target)
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "http");
        assert_eq!(send(request).await.body, usual.body);
    }
    let challenge = send(world.mcp(Method::POST, "/mcp", None, None)).await;
    let expected =
        "resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\"";
    let challenge = challenge.header("www-authenticate").unwrap();
    assert!(challenge.contains(expected), "{challenge}");
}

#[tokio::test]
async fn documents_of_paths_without_a_route_are_not_made_up() {
    let world = two_routes().await;
    for target in [
        format!("{RESOURCE}/other"),
        format!("{RESOURCE}/mcp/"),
        format!("{}/other", SERVER[0]),
    ] {
        assert_eq!(world.get(&target).await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn documents_can_only_be_read() {
    let world = two_routes().await;
    for target in [RESOURCE, SERVER[0]] {
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let answer = send(world.client().request(method, target)).await;
            assert_eq!(answer.status, 405, "{answer:?}");
            assert!(answer.header("allow").unwrap().contains("GET"));
        }
        let head = send(world.client().request(Method::HEAD, target)).await;
        let get = world.get(target).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.header("content-length"), get.header("content-length"));
    }
}

#[tokio::test]
async fn pages_may_ask_before_they_have_a_token() {
    let world = two_routes().await;
    for (target, method, origin) in [
        (RESOURCE, "GET", "https://inspector.example"),
        (SERVER[1], "GET", "https://inspector.example"),
        ("/register", "POST", "https://inspector.example"),
        ("/oauth2/token", "POST", "https://inspector.example"),
        ("/token", "POST", "https://inspector.example"),
        ("/mcp", "POST", world.public_url()),
        ("/mcp", "DELETE", world.public_url()),
    ] {
        let preflight = world
            .client()
            .request(Method::OPTIONS, target)
            .header("origin", origin)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "mcp-protocol-version");
        let answer = send(preflight).await;
        assert_eq!(answer.status, 204, "{target}: {answer:?}");
        let allowed = answer.header("access-control-allow-origin").unwrap();
        assert!(allowed == "*" || allowed == origin, "{target}: {allowed}");
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(methods.contains(method), "{target}: {methods}");
        let headers = answer.header("access-control-allow-headers").unwrap();
        let headers = headers.to_ascii_lowercase();
        assert!(headers.contains("mcp-protocol-version"), "{headers}");
    }
    assert_eq!(world.workloads[0].mcp_requests().len(), 0);
}

#[tokio::test]
async fn pages_may_read_challenges_and_session_ids() {
    let world = two_routes().await;
    let public = world.public_url();
    let unsigned = world
        .mcp(Method::POST, "/mcp", None, None)
        .header("origin", public)
        .body("{}");
    let answer = send(unsigned).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), Some(public));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["WWW-Authenticate", "Mcp-Session-Id"] {
        assert!(exposed.contains(name), "{exposed}");
    }
}

async fn from_a_page(world: &World, target: &str) -> Answer {
    let request = world.client().request(Method::GET, target);
    send(request.header("origin", "https://inspector.example")).await
}
