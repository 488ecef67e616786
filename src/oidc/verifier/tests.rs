//! Verdicts with real signatures, and what the cache may and may not do.

use std::{
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::oidc::{
    Timing,
    testing::{ISSUER, Jwks, NOW, claims, header, issuer, key, keys, token},
};

struct Fixture {
    jwks: Jwks,
    verifier: Arc<Verifier>,
    metrics: Metrics,
}

/// A verifier that has fetched the keys; tokens cause no further fetch within the test.
async fn fixture(jwks: Jwks) -> Fixture {
    with_timing(jwks, Timing::default()).await
}

async fn with_timing(jwks: Jwks, timing: Timing) -> Fixture {
    let metrics = Metrics::new();
    let source = jwks.source(&metrics, timing);
    assert!(source.fetch().await);
    let verifier = Arc::new(Verifier::new(issuer(), source, &metrics));
    Fixture {
        jwks,
        verifier,
        metrics,
    }
}

/// Tokens may cause a fetch at any time.
fn eager() -> Timing {
    every(Duration::ZERO)
}

/// Tokens may cause one fetch in `min_interval`.
fn every(min_interval: Duration) -> Timing {
    Timing {
        min_interval,
        ..Timing::default()
    }
}

/// Polls once: whether the verdict is there already.
async fn poll<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

impl Fixture {
    async fn check(&self, token: &str, expect: Result<(), Denied>) {
        let found = self.verifier.verify(token, NOW).await.map(drop);
        assert_eq!(found, expect, "{token:.100}");
    }

    /// At most one fetch an interval since `began`, beside the first.
    fn check_fetches(&self, began: Instant, interval: Duration) {
        let intervals = began.elapsed().as_millis() / interval.as_millis();
        let requests = self.jwks.server.requests();
        assert!(requests as u128 <= 1 + intervals, "{requests}");
    }

    fn count(&self, reason: &str) -> u64 {
        self.metrics
            .token_verdicts
            .with_label_values(&[reason])
            .get()
    }
}

#[tokio::test]
async fn a_good_token_is_verified_once_and_remembered() {
    let f = fixture(Jwks::with_a().await).await;
    let token = token(0);
    assert_eq!(f.verifier.cached(&token, NOW), None);
    let first = f.verifier.verify(&token, NOW).await.unwrap();
    let again = f.verifier.verify(&token, NOW).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(f.verifier.cached(&token, NOW), Some(first));
    assert_eq!((f.count("valid"), f.count("cached")), (1, 2));
    assert!(!format!("{:?}", f.verifier).contains(&token));
}

#[tokio::test]
async fn a_forged_signature_is_refused() {
    let f = fixture(Jwks::with_a().await).await;
    let good = token(0);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, _) = message.split_once('.').unwrap();

    // Another key under a known name.
    let other = key(1).sign(&header("a"), &claims());
    f.check(&other, Err(Denied::Signature)).await;
    // Other claims under a good signature.
    let mut more = claims();
    more["roles"] = json!(["admin"]);
    let payload = URL_SAFE_NO_PAD.encode(more.to_string());
    let moved = format!("{head}.{payload}.{signature}");
    f.check(&moved, Err(Denied::Signature)).await;
    // No signature, or a cut one.
    f.check(&format!("{message}."), Err(Denied::Signature))
        .await;
    f.check(&format!("{message}.AAAA"), Err(Denied::Signature))
        .await;
    f.check(&good, Ok(())).await;
}

#[tokio::test]
async fn a_signature_of_another_algorithm_is_refused() {
    let f = fixture(Jwks::with_a().await).await;
    let with_alg = |alg: &str| {
        let mut header = header("a");
        header["alg"] = json!(alg);
        header
    };
    f.check(
        &key(0).sign(&with_alg("none"), &claims()),
        Err(Denied::Algorithm),
    )
    .await;
    // The public key as the secret of an HMAC (RFC 8725 §2.1).
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&with_alg("HS256")), part(&claims()));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, key(0).modulus());
    let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, message.as_bytes()));
    f.check(&format!("{message}.{tag}"), Err(Denied::Algorithm))
        .await;
    // The same, calling itself RS256.
    let message = format!("{}.{}", part(&header("a")), part(&claims()));
    let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, message.as_bytes()));
    f.check(&format!("{message}.{tag}"), Err(Denied::Signature))
        .await;
}

#[tokio::test]
async fn a_well_signed_token_is_still_judged_by_its_claims() {
    let f = fixture(Jwks::with_a().await).await;
    for (claim, value, denied) in [
        ("aud", json!("x"), Denied::Audience),
        ("aud", json!({ "x": 1 }), Denied::ClaimType),
        ("iss", json!("https://evil.test"), Denied::Issuer),
        ("tid", json!("x"), Denied::Tenant),
        ("exp", json!(NOW - 1), Denied::Expired),
        ("nbf", json!(NOW + 61), Denied::NotYetValid),
    ] {
        let mut claims = claims();
        claims[claim] = value;
        f.check(&key(0).sign(&header("a"), &claims), Err(denied))
            .await;
        assert!(f.count(denied.reason()) > 0);
    }
}

#[tokio::test]
async fn a_key_signs_for_its_own_issuer_only() {
    let named = |issuer: &str| {
        let mut jwk = key(0).jwk("a");
        jwk["issuer"] = json!(issuer);
        keys(&json!([jwk]))
    };
    let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
    for (issuer, expect) in [
        (template, Ok(())),
        (ISSUER, Ok(())),
        ("https://evil.test/{tenantid}/v2.0", Err(Denied::KeyIssuer)),
    ] {
        let f = fixture(Jwks::start(named(issuer)).await).await;
        f.check(&token(0), expect).await;
    }
}

#[tokio::test]
async fn a_remembered_verdict_ends_with_the_token() {
    let f = fixture(Jwks::with_a().await).await;
    let token = token(0);
    f.check(&token, Ok(())).await;
    assert!(f.verifier.cached(&token, NOW + 3599).is_some());
    assert!(f.verifier.cached(&token, NOW + 3600).is_none());
    assert!(f.verifier.cached(&token, NOW - 360).is_some());
    assert!(f.verifier.cached(&token, NOW - 361).is_none());
    let late = f.verifier.verify(&token, NOW + 3600).await;
    assert_eq!(late, Err(Denied::Expired));
}

#[tokio::test]
async fn only_the_very_same_token_is_remembered() {
    let f = fixture(Jwks::with_a().await).await;
    let token = token(0);
    f.check(&token, Ok(())).await;
    for other in [format!("{token} "), token[..token.len() - 1].to_owned()] {
        assert!(f.verifier.cached(&other, NOW).is_none());
    }
}

#[tokio::test]
async fn a_withdrawn_key_takes_its_verdicts_along() {
    let f = with_timing(Jwks::with_a().await, eager()).await;
    let token = token(0);
    f.check(&token, Ok(())).await;
    // The same keys again change nothing.
    assert!(f.verifier.keys().fetch().await);
    assert!(f.verifier.cached(&token, NOW).is_some());
    f.jwks.set(keys(&json!([key(1).jwk("b")])));
    assert!(f.verifier.keys().fetch().await);
    assert!(f.verifier.cached(&token, NOW).is_none());
    f.check(&token, Err(Denied::UnknownKey)).await;
}

#[tokio::test]
async fn a_rotation_fails_no_request() {
    let f = with_timing(Jwks::with_a().await, eager()).await;
    f.check(&token(0), Ok(())).await;
    f.jwks.set(keys(&json!([key(0).jwk("a"), key(1).jwk("b")])));
    f.check(&key(1).sign(&header("b"), &claims()), Ok(())).await;
    f.check(&token(1), Ok(())).await;
    assert_eq!(f.jwks.server.requests(), 2);
}

#[tokio::test]
async fn a_key_published_right_after_a_fetch_fails_no_request() {
    let f = with_timing(Jwks::with_a().await, every(Duration::from_millis(300))).await;
    f.jwks.set(keys(&json!([key(0).jwk("a"), key(1).jwk("b")])));
    let new = key(1).sign(&header("b"), &claims());
    let (first, second) = tokio::join!(f.verifier.verify(&new, NOW), f.verifier.verify(&new, NOW));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert_eq!(f.jwks.server.requests(), 2);
}

#[tokio::test]
async fn a_key_set_asked_for_earlier_does_not_speak_against_a_token() {
    let f = with_timing(Jwks::with_a().await, eager()).await;
    let mut flight = pin!(f.verifier.keys().fetch());
    assert_eq!(poll(flight.as_mut()).await, None);
    let new = key(1).sign(&header("b"), &claims());
    let mut waiting = pin!(f.verifier.verify(&new, NOW));
    assert_eq!(poll(waiting.as_mut()).await, None);
    assert!(flight.await);
    f.jwks.set(keys(&json!([key(0).jwk("a"), key(1).jwk("b")])));
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn one_rotation_an_interval_fails_no_request() {
    const ROTATIONS: usize = 5;
    let interval = Duration::from_millis(300);
    let began = Instant::now();
    let f = with_timing(Jwks::with_a().await, every(interval)).await;
    // Old keys stay published for a while, as Entra does it.
    let mut published = vec![key(0).jwk("a")];
    let (newest, current) = tokio::sync::watch::channel(Some(token(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (verifier, current) = (Arc::clone(&f.verifier), current.clone());
        clients.spawn(async move {
            let mut served = 0;
            loop {
                let Some(token) = current.borrow().clone() else {
                    return served;
                };
                verifier.verify(&token, NOW).await.unwrap();
                served += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    for n in 0..ROTATIONS {
        let (kid, key) = (format!("k{n}"), key(n % 2));
        published.push(key.jwk(&kid));
        f.jwks.set(keys(&json!(published)));
        newest.send_replace(Some(key.sign(&header(&kid), &claims())));
        tokio::time::sleep(interval).await;
    }
    newest.send_replace(None);
    while let Some(served) = clients.join_next().await {
        assert!(served.unwrap() > 0);
    }
    f.check_fetches(began, interval);
    assert!(f.jwks.server.requests() > 2);
}

#[tokio::test]
async fn a_storm_of_unknown_keys_causes_one_fetch_an_interval() {
    let interval = Duration::from_millis(300);
    let tokens: Vec<_> = (0..200)
        .map(|n| key(0).sign(&header(&format!("unknown-{n}")), &claims()))
        .collect();
    let began = Instant::now();
    let f = with_timing(Jwks::with_a().await, every(interval)).await;
    let mut storm = tokio::task::JoinSet::new();
    for token in tokens {
        let verifier = Arc::clone(&f.verifier);
        storm.spawn(async move {
            let first = verifier.verify(&token, NOW).await.unwrap_err();
            let second = verifier.verify(&token, NOW).await.unwrap_err();
            [first, second]
        });
    }
    // The known key works all the while.
    f.check(&token(0), Ok(())).await;
    let (mut refused, mut turned_away) = (0, 0);
    for denied in storm.join_all().await.into_iter().flatten() {
        match denied {
            Denied::UnknownKey => refused += 1,
            Denied::NoKeys { .. } => turned_away += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0 && turned_away > 0, "{refused} {turned_away}");
    f.check_fetches(began, interval);
}

#[tokio::test]
async fn few_wait_for_a_fetch_and_who_leaves_makes_room() {
    let f = with_timing(Jwks::with_a().await, every(Duration::from_secs(3600))).await;
    let unknown = key(1).sign(&header("b"), &claims());
    let mut waiting = Vec::new();
    for _ in 0..64 {
        let mut verdict = Box::pin(f.verifier.verify(&unknown, NOW));
        assert_eq!(poll(verdict.as_mut()).await, None);
        waiting.push(verdict);
    }
    let denied = poll(pin!(f.verifier.verify(&unknown, NOW))).await.unwrap();
    let retry_after = denied.unwrap_err().retry_after().unwrap();
    assert!(retry_after > Duration::from_secs(3000), "{retry_after:?}");
    // What is wrong with the token itself is still said, and known keys need no place.
    f.check("a.b.c", Err(Denied::Malformed)).await;
    f.check(&token(0), Ok(())).await;

    waiting.pop();
    let mut verdict = pin!(f.verifier.verify(&unknown, NOW));
    assert_eq!(poll(verdict.as_mut()).await, None);
    // Any fetch ends the waiting, not only the one that tokens are allowed.
    f.jwks.set(keys(&json!([key(1).jwk("b")])));
    assert!(f.verifier.keys().fetch().await);
    assert!(verdict.await.is_ok());
    for verdict in waiting {
        assert!(verdict.await.is_ok());
    }
    assert_eq!(f.jwks.server.requests(), 2);
}

#[tokio::test]
async fn without_keys_nobody_is_told_that_the_token_is_bad() {
    let metrics = Metrics::new();
    let jwks = Jwks::start(keys(&json!([]))).await;
    let source = jwks.source(&metrics, eager());
    let verifier = Verifier::new(issuer(), source, &metrics);
    let denied = verifier.verify(&token(0), NOW).await.unwrap_err();
    assert!(denied.is_unavailable(), "{denied:?}");
    assert!(denied.retry_after().unwrap() >= Duration::from_secs(1));
    // What is wrong with the token itself is said all the same.
    let denied = verifier.verify("a.b.c", NOW).await.unwrap_err();
    assert_eq!(denied, Denied::Malformed);

    jwks.set(keys(&json!([key(0).jwk("a")])));
    assert!(verifier.verify(&token(0), NOW).await.is_ok());
}

#[tokio::test]
async fn an_outage_spares_known_keys_and_does_not_blame_new_ones() {
    let f = with_timing(Jwks::with_a().await, eager()).await;
    f.jwks.set(keys(&json!([])));
    let new = key(1).sign(&header("b"), &claims());
    let denied = f.verifier.verify(&new, NOW).await.unwrap_err();
    assert!(denied.is_unavailable(), "{denied:?}");
    f.check(&token(0), Ok(())).await;
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let f = fixture(Jwks::with_a().await).await;
    let identity = f.verifier.verify(&token(0), NOW).await.unwrap();
    let epoch = f.verifier.keys.current().epoch;
    for n in 0..3000 {
        let verdict = Verdict {
            identity: Arc::clone(&identity),
            not_before: 0,
            epoch,
        };
        let token = format!("{n:016000}").into_boxed_str();
        f.verifier.cache.insert(token, Arc::new(verdict));
    }
    assert!(f.verifier.cache.weight() <= CACHE_BYTES);
    assert!(f.verifier.cache.len() > 500);
}
