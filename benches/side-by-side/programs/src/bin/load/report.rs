//! What came back, in figures.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use side_by_side::Answer;

/// What all connections of a run write down.
pub(crate) struct Report {
    started: Instant,
    statuses: BTreeMap<u16, usize>,
    /// In nanoseconds.
    latencies: Vec<u64>,
    resumed: usize,
    full: usize,
    last: Option<Answer>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            statuses: BTreeMap::new(),
            latencies: vec![],
            resumed: 0,
            full: 0,
            last: None,
        }
    }

    pub(crate) fn answered(&mut self, status: u16, within: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        let nanoseconds = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.push(nanoseconds);
    }

    pub(crate) fn shook_hands(&mut self, resumed: bool) {
        if resumed {
            self.resumed += 1;
        } else {
            self.full += 1;
        }
    }

    pub(crate) fn show(&mut self, answer: Answer) {
        self.last = Some(answer);
    }

    /// Writes it all as JSON; times are microseconds.
    pub(crate) fn tell(mut self) -> Value {
        let seconds = self.started.elapsed().as_secs_f64();
        self.latencies.sort_unstable();
        let at = |hundredth: usize| {
            let index = self.latencies.len().saturating_sub(1) * hundredth / 100;
            let nanoseconds = self.latencies.get(index).copied().unwrap_or(0);
            Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6
        };
        let last = self.last.as_ref().map(|last| {
            json!({
                "status": last.status,
                "fields": last.fields,
                "body": String::from_utf8_lossy(&last.body),
            })
        });
        json!({
            "requests": self.latencies.len(),
            "seconds": seconds,
            "statuses": self.statuses,
            "p50": at(50),
            "p99": at(99),
            "resumed": self.resumed,
            "full": self.full,
            "last": last,
        })
    }
}
