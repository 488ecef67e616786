//! ToolHive's management API behind the gateway: it can start containers, so it is off, and where
//! it is on, everything that is not named is refused before ToolHive is asked.

use mcp_gateway_emulator::{
    entra::{DEVELOPERS, OPERATORS},
    toolhive::Api,
};
use reqwest::Method;

use crate::world::{World, send};

async fn world(api: &Api) -> World {
    World::builder()
        .workload("github")
        .route("/mcp")
        .upstream("toolhive", &[api.address()])
        .health_check("path: /health, expect: success")
        .section(&format!(
            "toolhive_api: {{ upstream: toolhive, groups: [{OPERATORS}], allow: [GET /api/v1beta/version, GET /api/v1beta/workloads, GET /api/v1beta/workloads/*] }}"
        ))
        .start()
        .await
}

async fn ask(world: &World, method: Method, path: &str, who: Option<&str>) -> u16 {
    let mut request = world.client().request(method, path);
    if let Some(who) = who {
        request = request.bearer_auth(world.entra.token(who).build());
    }
    send(request).await.status
}

#[tokio::test]
async fn is_off_unless_configured() {
    let world = World::usual().await;
    for path in ["/", "/api/v1beta/workloads", "/health/x"] {
        assert_eq!(ask(&world, Method::GET, path, Some("alice")).await, 404);
    }
}

#[tokio::test]
async fn takes_only_named_requests_of_named_groups() {
    let api = Api::builder().start().await.unwrap();
    let world = world(&api).await;
    for (method, path, who, expect) in [
        (Method::GET, "/api/v1beta/version", None, 401),
        // Bob is a developer only.
        (Method::GET, "/api/v1beta/version", Some("bob"), 403),
        (Method::POST, "/api/v1beta/workloads", Some("alice"), 403),
        (
            Method::DELETE,
            "/api/v1beta/workloads/github",
            Some("alice"),
            403,
        ),
        (
            Method::GET,
            "/api/v1beta/secrets/default/keys",
            Some("alice"),
            403,
        ),
        (
            Method::GET,
            "/api/v1beta/workloads/../secrets",
            Some("alice"),
            403,
        ),
        (Method::GET, "/api/v1beta/version", Some("alice"), 200),
        (Method::GET, "/api/v1beta/workloads", Some("alice"), 200),
    ] {
        let status = ask(&world, method.clone(), path, who).await;
        assert_eq!(status, expect, "{method} {path} {who:?}");
    }
    let asked: Vec<_> = api
        .requests()
        .into_iter()
        .filter(|request| request.path.starts_with("/api"))
        .collect();
    let paths: Vec<_> = asked.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/api/v1beta/version", "/api/v1beta/workloads"]);
    assert!(
        asked
            .iter()
            .all(|request| request.header("authorization").is_none()),
        "the caller's token is of no use to ToolHive's API and stays here"
    );
    assert_ne!(DEVELOPERS, OPERATORS);
}
