//! What is asked for, what is kept, and what a refusal means.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Response;
use parking_lot::Mutex;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::*;
use crate::{
    egress::testing::{Act, Server, reply},
    oauth::CredentialSource,
    secret::{Secret, SecretSource},
};

const NOW: u64 = 1_800_000_000;
const CALLER: Caller<'_> = Caller {
    token: "theirs",
    tenant: Some("t1"),
    expires_at: NOW + 3000,
};

fn answer(status: u16, body: &Value) -> Act {
    let json = "content-type: application/json\r\n";
    Act::Reply(reply(status, json, body.to_string().as_bytes()))
}

fn granted(token: &str, expires_in: u64) -> Act {
    answer(
        200,
        &json!({"token_type": "Bearer", "access_token": token, "expires_in": expires_in}),
    )
}

fn exchange() -> Grant {
    Grant::Exchange(Exchange {
        subject_token_type: "urn:ietf:params:oauth:token-type:access_token".to_owned(),
        audience: Some("backend".to_owned()),
        resource: None,
        scopes: vec!["read".to_owned(), "write".to_owned()],
        requested_token_type: None,
    })
}

fn delegation(url: &str, grant: Grant) -> (Delegation, Metrics) {
    let metrics = Metrics::new();
    let source = CredentialSource::ClientSecret(SecretSource::Env("S".to_owned()));
    let config = Config {
        url: url.to_owned(),
        client_id: Some("c1".to_owned()),
        credentials: Some(ClientCredentials::load(source, Secret::new("hush".to_owned())).unwrap()),
        grant,
    };
    let egress = Arc::new(Egress::build(&crate::egress::Config::default()).unwrap());
    let tenants = ["t1".to_owned(), "t2".to_owned()];
    let built = Delegation::build(&config, &tenants, &egress, &metrics).unwrap();
    (built, metrics)
}

/// Asks once and returns the form that the server saw, sorted.
async fn form(grant: Grant) -> Vec<(String, String)> {
    let seen = Arc::new(Mutex::new(String::new()));
    let keep = Arc::clone(&seen);
    let server = Server::start(move |_, request| {
        request
            .split_once("\r\n\r\n")
            .unwrap()
            .1
            .clone_into(&mut keep.lock());
        granted("ours", 3600)
    })
    .await;
    let (delegation, _) = delegation(&server.url("/token"), grant);
    let value = delegation.authorization(CALLER, NOW).await.unwrap();
    assert_eq!(*value, "Bearer ours");
    assert!(value.is_sensitive());
    let body = seen.lock().clone();
    let mut pairs: Vec<_> = form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    pairs.sort();
    pairs
}

fn pairs(expect: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    expect.iter().map(own).collect()
}

#[tokio::test]
async fn entra_is_asked_on_behalf_of_the_caller() {
    let scopes = vec!["api://x/read".to_owned(), "api://x/write".to_owned()];
    let expect = [
        ("assertion", "theirs"),
        ("client_id", "c1"),
        ("client_secret", "hush"),
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("requested_token_use", "on_behalf_of"),
        ("scope", "api://x/read api://x/write"),
    ];
    assert_eq!(form(Grant::OnBehalfOf { scopes }).await, pairs(&expect));
}

#[tokio::test]
async fn others_are_asked_for_an_exchange() {
    let expect = [
        ("audience", "backend"),
        ("client_id", "c1"),
        ("client_secret", "hush"),
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("scope", "read write"),
        ("subject_token", "theirs"),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
    ];
    assert_eq!(form(exchange()).await, pairs(&expect));
}

#[tokio::test]
async fn each_tenant_is_asked_at_its_own_endpoint() {
    let server = Server::start(|_, request| {
        let path = request.split(' ').nth(1).unwrap();
        granted(path.split('/').nth(1).unwrap(), 3600)
    })
    .await;
    let url = server.url("/{tenantid}/token").replace("%7B", "{");
    let (delegation, _) = delegation(&url, exchange());
    for tenant in ["t1", "t2"] {
        let caller = Caller {
            token: tenant,
            tenant: Some(tenant),
            ..CALLER
        };
        let value = delegation.authorization(caller, NOW).await.unwrap();
        assert_eq!(*value, format!("Bearer {tenant}"));
    }
    for tenant in [Some("t3"), None] {
        let caller = Caller {
            token: "x",
            tenant,
            ..CALLER
        };
        let refused = delegation.authorization(caller, NOW).await.unwrap_err();
        assert_eq!(refused.reason(), "unknown_tenant");
    }
    assert_eq!(server.requests(), 2);
}

/// How many seconds a token with this life is kept.
async fn kept_for(expires_in: u64) -> u64 {
    let server = Server::start(move |number, _| granted(&number.to_string(), expires_in)).await;
    let (delegation, _) = delegation(&server.url("/token"), exchange());
    let first = delegation.authorization(CALLER, NOW).await.unwrap();
    for later in 1.. {
        if later > 4000 || *delegation.authorization(CALLER, NOW + later).await.unwrap() != *first {
            return later;
        }
    }
    unreachable!()
}

#[tokio::test]
async fn a_token_is_kept_until_shortly_before_it_or_the_callers_ends() {
    assert_eq!(kept_for(600).await, 540);
    assert_eq!(kept_for(100).await, 50);
    assert_eq!(kept_for(86_400).await, 3000);
    assert_eq!(kept_for(0).await, 1);
}

#[tokio::test]
async fn a_token_is_asked_for_once_for_everyone_who_waits() {
    let server = Server::start(|_, _| granted("ours", 3600)).await;
    let (delegation, metrics) = delegation(&server.url("/token"), exchange());
    let asked = (0..50).map(|_| delegation.authorization(CALLER, NOW));
    let all = futures_all(asked).await;
    assert!(all.iter().all(Result::is_ok));
    let another = Caller {
        token: "another",
        ..CALLER
    };
    delegation.authorization(another, NOW).await.unwrap();
    assert_eq!(server.requests(), 2);
    let counted = metrics
        .delegations
        .with_label_values(&["exchange", "success"]);
    assert_eq!(counted.get(), 2);
    delegation.forget("another");
    delegation.authorization(another, NOW).await.unwrap();
    assert_eq!(server.requests(), 3);
}

async fn futures_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs = vec![];
    // Polled side by side at first, so that all of them wait for one.
    std::future::poll_fn(|cx| {
        pinned.retain_mut(|future| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => {
                outputs.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pinned.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outputs
}

#[tokio::test]
async fn whoever_waits_takes_over_from_a_request_that_ends() {
    let kept = Kept::<u32>::new(10, 10_000);
    let fetched = AtomicUsize::new(0);
    let key = key("x");
    let never = kept.get(&key, NOW, async || std::future::pending().await);
    let leaves = tokio::time::timeout(std::time::Duration::from_millis(50), never);
    let fetch = async || {
        fetched.fetch_add(1, Ordering::SeqCst);
        (7, NOW + 1, 0)
    };
    let (left, value) = tokio::join!(leaves, kept.get(&key, NOW, fetch));
    assert!(left.is_err());
    assert_eq!((value, fetched.into_inner()), (7, 1));
}

#[tokio::test]
async fn a_refusal_stands_for_a_moment() {
    let server = Server::start(|number, _| match number {
        0 => answer(
            400,
            &json!({"error": "invalid_scope", "error_codes": [70011]}),
        ),
        _ => granted("ours", 3600),
    })
    .await;
    let (delegation, metrics) = delegation(&server.url("/token"), exchange());
    for later in 0..REFUSED {
        let refused = delegation.authorization(CALLER, NOW + later).await;
        assert_eq!(refused.unwrap_err().reason(), "invalid_scope");
    }
    assert_eq!(server.requests(), 1);
    assert!(
        delegation
            .authorization(CALLER, NOW + REFUSED)
            .await
            .is_ok()
    );
    let counted = metrics
        .delegations
        .with_label_values(&["exchange", "invalid_scope"]);
    assert_eq!(counted.get(), 1);
}

#[tokio::test]
async fn a_wrong_secret_is_tried_once_for_all_callers() {
    let wrong = || {
        answer(
            401,
            &json!({"error": "invalid_client", "error_codes": [7_000_215]}),
        )
    };
    let server = Server::start(move |number, _| match number {
        0 => wrong(),
        _ => granted("ours", 3600),
    })
    .await;
    let (delegation, _) = delegation(&server.url("/token"), exchange());
    for token in ["a", "b", "c"] {
        let caller = Caller { token, ..CALLER };
        let refused = delegation.authorization(caller, NOW).await.unwrap_err();
        assert_eq!(refused.reason(), "invalid_client");
    }
    assert_eq!(server.requests(), 1);
    let later = delegation.authorization(CALLER, NOW + 5).await;
    assert!(later.is_ok());
}

fn check(status: u16, body: &Value, expect: &Result<u64, Declined>) {
    let answer = Response::builder()
        .status(status)
        .header("retry-after", "7")
        .body(Bytes::from(body.to_string()))
        .unwrap();
    let found = endpoint::judge(&answer).map(|granted| granted.expires_in);
    assert_eq!(found, *expect, "{status} {body}");
}

const fn refused(error: &'static str, code: u32) -> Result<u64, Declined> {
    Err(Declined::Refused { error, code })
}

#[test]
fn a_token_comes_with_its_life() {
    check(200, &json!({"access_token": "t", "expires_in": 9}), &Ok(9));
    check(
        200,
        &json!({"access_token": "t", "expires_in": "9"}),
        &Ok(9),
    );
    check(200, &json!({"access_token": "t"}), &Ok(60));
}

#[test]
fn what_is_no_token_is_not_passed_on() {
    for body in [
        json!({}),
        json!([]),
        json!({"access_token": ""}),
        json!({"access_token": 7}),
        json!({"access_token": "a b"}),
        json!({"access_token": "a\r\nx: y"}),
        json!({"access_token": "t".repeat(16 * 1024 + 1)}),
        json!({"access_token": "t", "expires_in": -1}),
        json!({"access_token": "t", "expires_in": "soon"}),
    ] {
        check(200, &body, &Err(Declined::Malformed));
    }
    check(
        302,
        &json!({"access_token": "t"}),
        &Err(Declined::Malformed),
    );
}

#[test]
fn a_refusal_says_who_can_mend_it() {
    let interaction = |claims: Option<&str>| {
        let claims = claims.map(Arc::from);
        Err(Declined::Interaction { claims })
    };
    let needed = json!({"error": "interaction_required", "error_codes": [50_076], "claims": "{}"});
    check(400, &needed, &interaction(Some("{}")));
    check(
        400,
        &json!({"error": "interaction_required"}),
        &interaction(None),
    );
    check(
        400,
        &json!({"error": "invalid_grant", "claims": "{}"}),
        &interaction(Some("{}")),
    );
    let long = json!({"error": "interaction_required", "claims": "x".repeat(4097)});
    check(400, &long, &interaction(None));
    for code in [50_173, 700_082, 500_133] {
        let ended = json!({"error": "invalid_grant", "error_codes": [code]});
        check(400, &ended, &Err(Declined::SignIn));
    }
    let consent = json!({"error": "invalid_grant", "error_codes": [65_001]});
    check(400, &consent, &refused("consent_required", 65_001));
    let audience = json!({"error": "invalid_grant", "error_codes": [500_131]});
    check(400, &audience, &refused("invalid_grant", 500_131));
    let secret = json!({"error": "invalid_client", "error_codes": [7_000_215]});
    check(401, &secret, &refused("invalid_client", 7_000_215));
    check(
        400,
        &json!({"error": "as the server likes"}),
        &refused("other_error", 0),
    );
}

#[test]
fn a_server_that_cannot_answer_is_asked_again_later() {
    let later = |reason| {
        Err(Declined::Unavailable {
            reason,
            retry_after: 7,
        })
    };
    check(429, &json!({}), &later("throttled"));
    check(503, &json!({}), &later("server_error"));
    check(500, &json!({}), &later("server_error"));
}
