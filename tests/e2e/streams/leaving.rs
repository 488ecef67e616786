//! Clients that leave: the workload hears of it at once, before and after its answer began.

use std::time::{Duration, Instant};

use mcp_gateway_emulator::toolhive::{Disconnect, Fault};
use reqwest::Method;

use super::{BOTH, Http, one_workload};
use crate::world::{PATIENCE, World, mcp::initialize, until};

/// How soon a workload has to notice that a client left.
const NOTICED: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_noticed_at_once() {
    for http in BOTH {
        let world = one_workload().await;
        let workload = &world.workloads[0];
        let token = world.token("alice");
        workload.fault(Fault::Hang);
        let mut left = Leaving::default();
        while left.again() {
            workload.forget_requests();
            let request = http.post(&world, &token, &initialize());
            let waiting = tokio::spawn(request.send());
            until("the workload is asked", || {
                !workload.mcp_requests().is_empty()
            })
            .await;
            left.now();
            waiting.abort();
            left.noticed(&world, http).await;
        }
        let line = world
            .access_line(|line| line["reason"] == "client_gone")
            .await;
        assert_eq!(line["status"], 0, "there was no answer");
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_is_noticed_at_once() {
    for http in BOTH {
        let world = one_workload().await;
        let token = world.token("alice");
        let session = world.session("/mcp", &token).await;
        let mut left = Leaving::default();
        while left.again() {
            let request = http.mcp(&world, Method::GET, &token, Some(&session));
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(world.workloads[0].open_streams(), 1);
            left.now();
            drop(response);
            left.noticed(&world, http).await;
        }
        assert_eq!(world.workloads[0].open_streams(), 0);
        let line = world
            .access_line(|line| line["reason"] == "client_gone")
            .await;
        assert_eq!(line["status"], 200, "the answer had begun");
    }
}

/// Clients that leave, until one of them was noticed in time: on a busy machine one may be late by
/// chance, while a gateway that waits or polls is always late.
#[derive(Default)]
struct Leaving {
    left: Option<Instant>,
    delays: Vec<Duration>,
}

impl Leaving {
    fn again(&self) -> bool {
        assert!(self.delays.len() < 10, "always too late: {:?}", self.delays);
        self.delays.last().is_none_or(|delay| *delay > NOTICED)
    }

    fn now(&mut self) {
        self.left = Some(Instant::now());
    }

    async fn noticed(&mut self, world: &World, http: Http) {
        let left = self.left.unwrap();
        let workload = &world.workloads[0];
        let since = |seen: &Disconnect| seen.at.checked_duration_since(left);
        let noticed = workload
            .wait_for_disconnects(PATIENCE, |seen| seen.iter().any(|one| since(one).is_some()))
            .await;
        assert!(noticed, "{http:?}: never");
        let seen = workload.disconnects();
        self.delays.extend(seen.iter().find_map(since));
    }
}
