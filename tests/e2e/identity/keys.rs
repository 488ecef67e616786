//! The tenant's keys: rotated, late, and asked for by strangers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_gateway_emulator::{
    entra::{Endpoint, Fault},
    record::Recorded,
};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use crate::world::{PATIENCE, World, mcp, until};

fn fetches(world: &World) -> u64 {
    world.count_all("gateway_key_set_fetches_total")
}

/// Calls with fresh tokens, several at a time, while `during` runs; every call must succeed.
async fn nobody_notices(world: &World, during: impl Future<Output = ()>) {
    let (over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = async || {
        let session = world.session("/mcp", &world.token("alice")).await;
        loop {
            let message = mcp::call(1, "echo", &json!({"text": "x"}));
            let token = world.token("alice");
            let answer = world
                .rpc("/mcp", Some(&token), Some(&session), &message)
                .await;
            assert_eq!(answer.status, 200, "{answer:?}");
            calls.fetch_add(1, Ordering::Relaxed);
            if over.load(Ordering::Relaxed) {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let until_over = async {
        during.await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(client(), client(), client(), until_over);
    assert!(calls.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn a_rollover_of_the_signing_key_costs_no_request() {
    let world = World::usual().await;
    nobody_notices(&world, async {
        sleep(Duration::from_millis(150)).await;
        world.entra.roll_signing_key();
        sleep(Duration::from_millis(300)).await;
    })
    .await;
}

/// Takes 10 s, like the next one: the gateway was told its keys just now, and asks again only then.
#[tokio::test]
async fn keys_that_are_all_replaced_at_once_cost_no_request() {
    let world = World::usual().await;
    let session = world.session("/mcp", &world.token("alice")).await;
    let before = fetches(&world);
    // In flight while the keys change.
    let token = world.token("alice");
    let slow = mcp::call(7, "slow", &json!({"ms": 300}));
    let in_flight = world.rpc("/mcp", Some(&token), Some(&session), &slow);
    let rotation = async {
        let called = |request: &Recorded| String::from_utf8_lossy(&request.body).contains("slow");
        let workload = &world.workloads[0];
        workload.wait_for(PATIENCE, called).await.unwrap();
        world.entra.rotate_keys();
        let asked = until("the gateway asks for keys", || fetches(&world) > before);
        nobody_notices(&world, asked).await;
    };
    let (answer, ()) = tokio::join!(in_flight, rotation);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(fetches(&world), before + 1);
}

#[tokio::test]
async fn strangers_cannot_make_the_gateway_ask_for_keys() {
    let started = Instant::now();
    let world = Arc::new(World::usual().await);
    let mut storm = JoinSet::new();
    for number in 0..100 {
        let world = Arc::clone(&world);
        storm.spawn(async move {
            let token = world.entra.token("alice");
            let token = token.header("kid", format!("unknown-{number}")).build();
            let initialize = mcp::initialize();
            let answer = world.rpc("/mcp", Some(&token), None, &initialize).await;
            (answer.status, started.elapsed())
        });
    }
    let mut refused = 0;
    while let Some(answer) = storm.join_next().await {
        match answer.unwrap() {
            // Not before the gateway has seen newer keys.
            (401, _) => refused += 1,
            // Only so many may wait.
            (503, after) => assert!(after < Duration::from_secs(8)),
            other => panic!("{other:?}"),
        }
    }
    assert!((1..=64).contains(&refused), "{refused}");
    // One fetch in 10 s.
    let most = 1 + started.elapsed().as_secs() / 10;
    assert!(fetches(&world) <= most, "{} of {most}", fetches(&world));
    let asked = world.entra.requests_to(Endpoint::Keys).len();
    assert_eq!(fetches(&world), u64::try_from(asked).unwrap());
    assert_eq!(world.workloads[0].mcp_requests().len(), 0);
}

#[tokio::test]
async fn the_gateway_starts_without_entra_and_needs_no_restart_when_it_is_back() {
    let world = World::builder()
        .workload("github")
        .route("/mcp")
        .entra_down()
        .start()
        .await;
    let token = world.token("alice");
    let initialize = mcp::initialize();
    for _ in 0..3 {
        let answer = world.rpc("/mcp", Some(&token), None, &initialize).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("www-authenticate").is_none(), "{answer:?}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&wait), "{wait}");
        assert_eq!(answer.error(), "temporarily_unavailable");
    }
    // Whoever has no token is still told where to get one, and everything from memory is served.
    assert_eq!(world.rpc("/mcp", None, None, &initialize).await.status, 401);
    for document in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
    ] {
        assert_eq!(world.get(document).await.status, 200);
    }
    assert_eq!(world.count("gateway_key_set_fetched_timestamp_seconds"), 0);
    world.entra.start().unwrap();
    until("the keys are there", || {
        world.metric("gateway_key_set_fetched_timestamp_seconds") > 0.0
    })
    .await;
    world.session("/mcp", &token).await;
}

#[tokio::test]
async fn a_key_set_that_is_none_is_an_outage_and_not_a_verdict() {
    for fault in [Fault::NotJson, Fault::HalfJson, Fault::Refuse] {
        let world = World::builder()
            .workload("github")
            .route("/mcp")
            .entra_down()
            .start()
            .await;
        world.entra.fail_always(Endpoint::Keys, fault);
        world.entra.start().unwrap();
        let token = world.token("alice");
        let answer = world
            .rpc("/mcp", Some(&token), None, &mcp::initialize())
            .await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
}

#[tokio::test]
async fn keys_at_hand_outlast_an_outage() {
    let world = World::usual().await;
    let session = world.session("/mcp", &world.token("alice")).await;
    world.entra.stop().await;
    // Another token, so that no verdict is remembered.
    let token = world.entra.token("alice").claim("uti", "another").build();
    let arguments = json!({"text": "hi"});
    let text = world
        .call_tool("/mcp", &token, &session, "echo", &arguments)
        .await;
    assert_eq!(text, "hi");
}
