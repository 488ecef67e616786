//! The authorization endpoint: what reaches Entra, what is sent back, and what is only shown.

use mcp_gateway_emulator::entra::{CLIENT_ID, Endpoint};
use reqwest::Method;

use super::flow::{CALLBACK, CHALLENGE, Flow, find, query};
use crate::world::{Answer, World, exchange, send};

/// A complete request, in an order of its own.
fn complete() -> String {
    format!(
        "code_challenge={CHALLENGE}&client_id={CLIENT_ID}&response_type=code&code_challenge_method=S256\
         &redirect_uri=http%3A%2F%2Flocalhost%3A3118%2Fcallback&scope=openid%20offline_access"
    )
}

/// Sends a query as it is, and returns the one that Entra is sent.
async fn forwarded(world: &World, path: &str, query: &str) -> String {
    let request =
        format!("GET {path}?{query} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let answer = exchange(world.connect().await, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    let location = answer
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location").then_some(value)
        })
        .unwrap();
    let endpoint = format!("{}?", world.entra.authorization_endpoint());
    location.strip_prefix(&endpoint).unwrap().to_owned()
}

#[tokio::test]
async fn dropped_parameters_are_found_in_every_spelling_and_place() {
    let world = World::usual().await;
    let base = complete();
    for dropped in [
        "resource=https://mcp.example/mcp",
        "resource=https%3A%2F%2Fmcp.example%2Fmcp",
        "resource=",
        "resource",
        "%72esource=x",
        "r%65so%75rce=x",
        "%72%65%73%6F%75%72%63%65=x",
        "%72%65%73%6f%75%72%63%65=x",
        "prompt=consent",
        "pr%6Fmpt=select_account",
    ] {
        for path in ["/oauth2/authorize", "/authorize"] {
            let sent = format!("{dropped}&{base}&{dropped}&state=1&{dropped}");
            let expected = format!("{base}&state=1");
            assert_eq!(forwarded(&world, path, &sent).await, expected, "{sent}");
        }
    }
}

#[tokio::test]
async fn every_other_byte_reaches_entra() {
    let world = World::usual().await;
    for kept in [
        "state=qVaqh2bbtp%2F0%2Fn%2BT5w%3D%3D",
        "state=a/b+c=d~e!$'()*,;:@?",
        "state=%7e%7E%41%20+",
        "state=",
        "state",
        "empty=&&=&x",
        "resources=1&resource_id=2&xresource=3&resource%20=4",
        "claims=%7B%22id_token%22%3Anull%7D",
        "login_hint=bob%40contoso.example",
    ] {
        let sent = format!("{}&{kept}", complete());
        assert_eq!(forwarded(&world, "/oauth2/authorize", &sent).await, sent);
    }
}

#[tokio::test]
async fn the_scope_is_completed_and_never_cut() {
    let world = World::usual().await;
    let base = complete();
    let base = base.rsplit_once("&scope=").unwrap().0;
    for (sent, expected) in [
        (
            "&scope=openid%20offline_access",
            "&scope=openid%20offline_access",
        ),
        ("&scope=profile", "&scope=profile%20openid%20offline_access"),
        (
            "&scope=openid+User.Read",
            "&scope=openid+User.Read+offline_access",
        ),
        (
            "&scope=",
            "&scope=openid%20profile%20email%20offline_access",
        ),
        ("", "&scope=openid%20profile%20email%20offline_access"),
    ] {
        let query = forwarded(&world, "/oauth2/authorize", &format!("{base}{sent}")).await;
        let scope = |query: &str| {
            find(&self::query(&format!("http://x/?{query}")), "scope").map(str::to_owned)
        };
        assert_eq!(scope(&query), scope(expected), "{sent}");
        assert!(query.starts_with(base), "{query}");
    }
}

#[tokio::test]
async fn the_gateway_sends_the_browser_away_and_asks_nobody() {
    let world = World::usual().await;
    let answer = Flow::through_gateway(&world).authorize(&[]).await;
    assert_eq!(answer.status, 302, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(world.entra.requests_to(Endpoint::Authorize).len(), 0);
}

#[track_caller]
fn is_page(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 400, "{what}: {answer:?}");
    assert!(answer.header("location").is_none(), "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(answer.body.contains(what), "{what}: {answer:?}");
}

#[tokio::test]
async fn faults_of_client_and_redirect_uri_are_shown_and_never_redirected() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    let other = "00000000-1111-2222-3333-444444444444";
    for (changes, what) in [
        (&[("client_id", "")][..], "client_id is missing"),
        (&[("client_id", other)], "not known here"),
        (&[("redirect_uri", "")], "redirect_uri is missing"),
        (&[("redirect_uri", "https://evil.example/cb")], "allow-list"),
        (
            &[("redirect_uri", "http://localhost@evil.example/")],
            "user name",
        ),
        (
            &[("redirect_uri", "http://localhost:1/callback#x")],
            "fragment",
        ),
        (&[("redirect_uri", "javascript:alert(1)")], "allow-list"),
    ] {
        is_page(&flow.authorize(changes).await, what);
    }
    assert_eq!(world.entra.requests_to(Endpoint::Authorize).len(), 0);
}

#[tokio::test]
async fn what_a_page_shows_cannot_run() {
    let world = World::usual().await;
    let uri = "https://evil.example/\"><script>alert(1)</script>";
    let answer = Flow::through_gateway(&world)
        .authorize(&[("redirect_uri", uri)])
        .await;
    is_page(&answer, "evil.example");
    assert!(!answer.body.contains("<script"), "{answer:?}");
}

#[tokio::test]
async fn other_faults_go_back_to_the_client_with_its_state() {
    let world = World::usual().await;
    let flow = Flow::through_gateway(&world);
    for (changes, error) in [
        (&[("response_type", "")][..], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (
            &[("response_type", "code id_token")],
            "unsupported_response_type",
        ),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge", "short")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("request", "e.y.J")], "request_not_supported"),
        (
            &[("request_uri", "https://x.example")],
            "request_uri_not_supported",
        ),
    ] {
        let answer = flow.authorize(changes).await;
        assert_eq!(answer.status, 302, "{changes:?}: {answer:?}");
        let location = answer.header("location").unwrap();
        assert!(location.starts_with(&format!("{CALLBACK}?")), "{location}");
        let pairs = query(location);
        assert_eq!(find(&pairs, "error"), Some(error), "{changes:?}");
        assert!(!find(&pairs, "error_description").unwrap().is_empty());
        assert_eq!(find(&pairs, "state"), Some(super::flow::STATE));
    }
    let counted = "gateway_refusals_total{reason=\"check_authorize\",route=\"/oauth2/authorize\"}";
    assert!((world.metric(counted) - 9.0).abs() < f64::EPSILON);
    assert_eq!(world.entra.requests_to(Endpoint::Authorize).len(), 0);
}

#[tokio::test]
async fn the_state_of_a_fault_comes_back_byte_for_byte() {
    let world = World::usual().await;
    let query = complete().replace("S256", "plain");
    let request = format!(
        "GET /oauth2/authorize?{query}&state=a/b%2bc=~%7e HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    );
    let answer = world.raw(request.as_bytes()).await;
    assert!(answer.contains("&state=a/b%2bc=~%7e\r\n"), "{answer}");
}

#[tokio::test]
async fn protocol_parameters_that_repeat_are_refused() {
    let world = World::usual().await;
    let base = complete();
    for repeated in [
        format!("client_id={CLIENT_ID}"),
        format!("%63lient_id={CLIENT_ID}"),
        format!("CLIENT_ID={CLIENT_ID}"),
        "redirect_uri=https://evil.example/".to_owned(),
        "response_type=token".to_owned(),
        "scope=openid".to_owned(),
        "code_challenge_method=plain".to_owned(),
        "state=1&state=2".to_owned(),
        "response_mode=query&response_mode=form_post".to_owned(),
    ] {
        for sent in [format!("{base}&{repeated}"), format!("{repeated}&{base}")] {
            let answer = world.get(&format!("/oauth2/authorize?{sent}")).await;
            is_page(&answer, "more than once");
        }
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused() {
    let world = World::usual().await;
    for sent in ["state=%zz", "state=%", "%ff=1", "state=%ff"] {
        let answer = world
            .get(&format!("/oauth2/authorize?{}&{sent}", complete()))
            .await;
        is_page(&answer, "cannot be read");
    }
    let many = "x=1&".repeat(200);
    let answer = world
        .get(&format!("/oauth2/authorize?{many}{}", complete()))
        .await;
    is_page(&answer, "parameters");
}

#[tokio::test]
async fn a_posted_form_becomes_the_query() {
    let world = World::usual().await;
    for path in ["/oauth2/authorize", "/authorize"] {
        let form = format!("resource=x&{}&state=a%2Fb+c", complete());
        let request = world
            .client()
            .request(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = send(request).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let expected = format!(
            "{}?{}&state=a%2Fb+c",
            world.entra.authorization_endpoint(),
            complete()
        );
        assert_eq!(answer.header("location"), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn a_posted_form_is_held_within_limits() {
    let world = World::usual().await;
    let post = |kind: &str, body: String| {
        let request = world.client().request(Method::POST, "/oauth2/authorize");
        send(request.header("content-type", kind.to_owned()).body(body))
    };
    let form = "application/x-www-form-urlencoded";
    let large = format!("{}&state={}", complete(), "x".repeat(64 * 1024));
    assert_eq!(post(form, large).await.status, 413);
    assert_eq!(post("application/json", "{}".to_owned()).await.status, 415);
    let split = format!("/oauth2/authorize?client_id={CLIENT_ID}");
    let request = world
        .client()
        .request(Method::POST, &split)
        .header("content-type", form)
        .body(complete());
    is_page(&send(request).await, "more than once");
}

#[tokio::test]
async fn no_page_of_another_site_may_read_a_sign_in() {
    let world = World::usual().await;
    for path in ["/oauth2/authorize", "/authorize"] {
        for method in [Method::GET, Method::OPTIONS] {
            let request = world
                .client()
                .request(method, &format!("{path}?{}", complete()))
                .header("origin", "https://evil.example")
                .header("access-control-request-method", "GET");
            let answer = send(request).await;
            let told =
                |name: &reqwest::header::HeaderName| name.as_str().starts_with("access-control-");
            assert!(!answer.headers.keys().any(told), "{answer:?}");
        }
    }
}
