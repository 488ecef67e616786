//! Groups that do not fit into a token: asked for at Microsoft Graph, and never taken for none.

use std::time::Duration;

use mcp_gateway_emulator::entra::{
    self, API_SCOPE, Endpoint, Fault, GRAPH, Grant, OPERATORS, User,
};

use crate::world::{Answer, CLIENT_SECRET, World, mcp};

/// A person in more groups than a token lists.
fn member(name: &str, number: u32, more: &[&str]) -> User {
    let groups = (0..250).map(|group| format!("0f3d2b6e-9999-4c5d-9e8f-{group:012}"));
    User {
        oid: format!("5e0a7c1d-0000-4000-8000-{number:012}"),
        upn: format!("{name}@contoso.example"),
        name: name.to_owned(),
        groups: groups
            .chain(more.iter().map(|&group| group.to_owned()))
            .collect(),
        roles: vec![],
        admin: false,
    }
}

/// Gina may operate, Mallory may not; both are in too many groups.
fn people(entra: entra::Builder) -> entra::Builder {
    entra
        .user(member("gina", 10, &[OPERATORS]))
        .user(member("mallory", 11, &[]))
        .registration(|app| app.secret(CLIENT_SECRET))
}

fn reader(entra: entra::Builder) -> entra::Builder {
    people(entra).registration(|mut app| {
        app.permissions = vec!["GroupMember.Read.All".to_owned()];
        app
    })
}

/// A route for operators. `{authority}` is Graph, too.
async fn world(shape: fn(entra::Builder) -> entra::Builder, settings: &str) -> World {
    World::builder()
        .entra(shape)
        .identity(&format!(
            "authorization_server: {{ entra: {{ tenant: {{tenant}}, client_id: {{client_id}}, \
             authority: '{{authority}}', {settings} }} }}"
        ))
        .workloads_without_oidc()
        .workload("github")
        .route_with("/mcp", &format!("groups: [{OPERATORS}]"))
        .start()
        .await
}

const OF_GRAPH: &str = "credentials: { client_secret: { env: CLIENT_SECRET } }, \
    groups: { overage: graph, graph: '{authority}' }";

async fn call(world: &World, who: &str) -> Answer {
    let token = world.token(who);
    world
        .rpc("/mcp", Some(&token), None, &mcp::initialize())
        .await
}

async fn reason(world: &World, answer: &Answer) -> String {
    let line = world
        .access_line(|line| line["status"] == answer.status)
        .await;
    line["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn groups_that_nobody_asks_for_are_unknown_and_not_none() {
    let world = world(people, "strip: [resource, prompt]").await;
    for who in ["gina", "mallory"] {
        let answer = call(&world, who).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(
            answer.body.contains("more groups than its token"),
            "{answer:?}"
        );
        assert_eq!(reason(&world, &answer).await, "groups_unresolved");
    }
    // Whose groups fit into the token is as well off as ever.
    assert_eq!(call(&world, "alice").await.status, 200);
    assert_eq!(call(&world, "bob").await.status, 403);
}

#[tokio::test]
async fn graph_tells_the_groups_that_a_token_does_not_list() {
    let world = world(reader, OF_GRAPH).await;
    for _ in 0..3 {
        let answer = call(&world, "gina").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let answer = call(&world, "mallory").await;
    assert_eq!(
        (answer.status, reason(&world, &answer).await.as_str()),
        (403, "not_in_group")
    );
    assert_eq!(call(&world, "alice").await.status, 200);
    // Once for each user, with one token of the application.
    assert_eq!(world.entra.requests_to(Endpoint::Graph).len(), 2);
    assert_eq!(world.entra.requests_to(Endpoint::Token).len(), 1);
    assert_eq!(
        world.count("gateway_group_lookups_total{outcome=\"ok\"}"),
        2
    );
    assert!(!world.access_text().contains(CLIENT_SECRET));
}

#[tokio::test]
async fn the_address_in_the_token_is_not_asked() {
    let world = world(reader, OF_GRAPH).await;
    let trap = world.entra.authority();
    let token = world
        .entra
        .token("mallory")
        .claim(
            "_claim_sources",
            serde_json::json!({"src1": {"endpoint": format!("{trap}/v1.0/users/trap/getMemberObjects")}}),
        )
        .build();
    let answer = world
        .rpc("/mcp", Some(&token), None, &mcp::initialize())
        .await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let requests = world.entra.requests_to(Endpoint::Graph);
    assert!(
        requests
            .iter()
            .all(|request| !request.path.contains("trap"))
    );
}

#[tokio::test]
async fn many_requests_ask_once() {
    let world = world(reader, OF_GRAPH).await;
    world.entra.fail(
        Endpoint::Graph,
        Fault::SlowBody(Duration::from_millis(300)),
        1,
    );
    let token = world.token("gina");
    let initialize = mcp::initialize();
    let calls = (0..20).map(|_| world.rpc("/mcp", Some(&token), None, &initialize));
    for answer in futures(calls).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(world.entra.requests_to(Endpoint::Graph).len(), 1);
}

/// Runs all side by side.
async fn futures<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut outputs = vec![];
    let mut waiting: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        waiting.retain_mut(|future| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => {
                outputs.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outputs
}

#[tokio::test]
async fn a_missing_permission_is_said_and_lets_nobody_in() {
    let world = world(people, OF_GRAPH).await;
    let answer = call(&world, "gina").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(reason(&world, &answer).await, "groups_refused");
    assert!(answer.header("www-authenticate").is_none());
    assert_eq!(
        world.count("gateway_group_lookups_total{outcome=\"refused\"}"),
        1
    );
}

#[tokio::test]
async fn while_graph_is_down_nobody_is_let_in_and_clients_are_told_to_wait() {
    let world = world(reader, OF_GRAPH).await;
    let fault = Fault::Unavailable {
        status: 503,
        retry_after: None,
    };
    for endpoint in [Endpoint::Graph, Endpoint::Token] {
        world.entra.fail_always(endpoint, fault.clone());
    }
    for who in ["gina", "mallory"] {
        let answer = call(&world, who).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert_eq!(reason(&world, &answer).await, "groups_unavailable");
    }
    assert_eq!(call(&world, "alice").await.status, 200);
}

#[tokio::test]
async fn graph_can_be_asked_on_behalf_of_the_user() {
    let shape = |entra| {
        people(entra).grant(Grant {
            client: entra::CLIENT_ID.to_owned(),
            resource: GRAPH.to_owned(),
            scopes: vec!["GroupMember.Read.All".to_owned()],
            principal: None,
        })
    };
    let settings = format!(
        "bearer: access_token, api: {{ scopes: [{API_SCOPE}] }}, \
         credentials: {{ client_secret: {{ env: CLIENT_SECRET }} }}, \
         groups: {{ overage: on_behalf_of, graph: '{{authority}}' }}"
    );
    let world = world(shape, &settings).await;
    let initialize = mcp::initialize();
    for (who, status) in [("gina", 200), ("mallory", 403)] {
        let token = world.entra.api_token(who).unwrap();
        let answer = world.rpc("/mcp", Some(&token), None, &initialize).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let asked = world.entra.requests_to(Endpoint::Graph);
    assert!(
        asked
            .iter()
            .all(|request| request.path == "/v1.0/me/getMemberObjects")
    );
}
