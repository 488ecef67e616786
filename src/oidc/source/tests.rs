//! Fetching, keeping and not fetching.

use serde_json::json;

use super::*;
use crate::{
    egress::testing::{Act, reply},
    oidc::testing::{Jwks, key, keys},
};

fn outcomes(metrics: &Metrics, outcome: &str) -> u64 {
    metrics.key_set_fetches.with_label_values(&[outcome]).get()
}

/// Serves good keys, then `act`; the keys must stay and the fetch must count as `outcome`.
async fn check_kept(act: Act, outcome: &str) {
    let metrics = Metrics::new();
    let jwks = Jwks::with_a().await;
    let source = jwks.source(&metrics, Timing::default());
    assert!(source.fetch().await);
    let fetched = metrics.key_set_fetched.get();
    assert!(fetched > 1_600_000_000);
    jwks.set(act);
    assert!(source.fetch().await);
    assert!(source.is_failing());
    assert!(source.current().set.find("a").is_some());
    assert_eq!(source.current().epoch, 1);
    assert_eq!(
        (outcomes(&metrics, "ok"), outcomes(&metrics, outcome)),
        (1, 1)
    );
    jwks.set(keys(&json!([key(0).jwk("a")])));
    assert!(source.fetch().await);
    assert!(!source.is_failing());
}

#[tokio::test]
async fn keys_are_kept_while_the_source_fails() {
    check_kept(keys(&json!([])), "empty").await;
    check_kept(keys(&json!([{ "kty": "EC", "kid": "e" }])), "empty").await;
    check_kept(Act::Reply(reply(200, "", b"<html>")), "malformed").await;
    check_kept(Act::Reply(reply(500, "", b"{}")), "status").await;
    check_kept(Act::Reply(reply(302, "location: /\r\n", b"")), "status").await;
    check_kept(
        Act::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec()),
        "truncated",
    )
    .await;
    check_kept(
        Act::Reply(reply(200, "", &vec![b' '; 1024 * 1024 + 1])),
        "too_large",
    )
    .await;
    check_kept(Act::Last(Vec::new()), "unreachable").await;
}

#[tokio::test]
async fn those_who_wait_share_one_fetch() {
    let metrics = Metrics::new();
    let jwks = Jwks::with_a().await;
    let source = jwks.source(&metrics, Timing::default());
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let source = source.clone();
        waiting.spawn(async move { source.fetch().await });
    }
    while let Some(ready) = waiting.join_next().await {
        assert!(ready.unwrap());
    }
    assert_eq!(jwks.server.requests(), 1);
}

#[tokio::test]
async fn who_leaves_does_not_cancel_the_fetch_of_others() {
    let metrics = Metrics::new();
    let jwks = Jwks::with_a().await;
    let source = jwks.source(&metrics, Timing::default());
    let impatient = tokio::spawn({
        let source = source.clone();
        async move { source.look_for("a").await }
    });
    // Runs until it waits; then it is gone before the answer comes.
    tokio::task::yield_now().await;
    impatient.abort();
    assert_eq!(source.look_for("a").await, Ok(()));
    assert!(source.is_ready());
    assert_eq!(jwks.server.requests(), 1);
}

#[tokio::test]
async fn a_source_that_comes_up_late_is_found() {
    let metrics = Metrics::new();
    let jwks = Jwks::start(Act::Reply(reply(503, "", b""))).await;
    let timing = Timing {
        retry: Duration::from_millis(5),
        retry_max: Duration::from_millis(20),
        ..Timing::default()
    };
    let source = jwks.source(&metrics, timing);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn({
        let source = source.clone();
        async move { source.run(stopped).await }
    });
    let until = async |reached: &dyn Fn() -> bool| {
        let waiting = async {
            while !reached() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let deadline = Duration::from_secs(30);
        tokio::time::timeout(deadline, waiting).await.unwrap();
    };
    until(&|| outcomes(&metrics, "status") >= 3).await;
    assert!(!source.is_ready());
    jwks.set(keys(&json!([key(0).jwk("a")])));
    until(&|| source.is_ready()).await;
    stop.send(true).unwrap();
    running.await.unwrap();
}

#[test]
fn pauses_grow_to_a_limit() {
    let pauses = |ready: bool| {
        let metrics = Metrics::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let source = runtime.block_on(async {
            let jwks = Jwks::with_a().await;
            let source = jwks.source(&metrics, Timing::default());
            assert_eq!(ready && source.fetch().await, ready);
            source
        });
        [0, 1, 2, 5, 40].map(|failures| source.0.pause(failures).as_secs_f64())
    };
    let check = |found: [f64; 5], expect: [f64; 5]| {
        for (found, expect) in found.into_iter().zip(expect) {
            assert!(
                (found / expect - 1.0).abs() <= 0.1001,
                "{found} for {expect}"
            );
        }
    };
    check(pauses(false), [3600.0, 1.0, 2.0, 16.0, 300.0]);
    check(pauses(true), [3600.0, 10.0, 20.0, 160.0, 300.0]);
}
