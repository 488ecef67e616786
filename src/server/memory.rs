//! The memory guard: looks how much the process holds, and has new work refused in time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use log::{info, warn};
use prometheus::IntGauge;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    ingress::{Pressure, Watermark},
    telemetry::metrics::Metrics,
    units::Size,
};

/// How often the guard looks. A client on a fast line sends some MiB in between.
const TICK: Duration = Duration::from_millis(100);

/// Says how many bytes the process holds; `None` when it cannot be told.
pub(super) type Sampler = Box<dyn FnMut() -> Option<usize> + Send>;

/// Looks, and switches.
pub(super) struct Guard {
    sampler: Sampler,
    mark: usize,
    watermark: Watermark,
    held: IntGauge,
    refusing: IntGauge,
}

impl Guard {
    /// Guards the mark of so many bytes.
    pub(super) fn new(
        mark: usize,
        sampler: Sampler,
        pressure: Arc<Pressure>,
        metrics: &Metrics,
    ) -> Self {
        metrics.memory_mark.set(gauge(mark));
        Self {
            sampler,
            mark,
            watermark: Watermark::new(mark, pressure),
            held: metrics.memory_held.clone(),
            refusing: metrics.memory_refusing.clone(),
        }
    }

    /// Looks once, and says so in the log when that has changed something.
    pub(super) fn look(&mut self, now: Instant) {
        // What cannot be told now was told a moment ago.
        let Some(held) = (self.sampler)() else { return };
        self.held.set(gauge(held));
        let mib = |bytes: usize| bytes / Size::mib(1).0;
        let (held_mib, mark_mib) = (mib(held), mib(self.mark));
        match self.watermark.sample(held, now) {
            Some(true) => {
                self.refusing.set(1);
                warn!(held_mib, mark_mib; "memory is short: new connections and requests are refused");
            }
            Some(false) => {
                self.refusing.set(0);
                info!(held_mib, mark_mib; "new connections and requests are taken again");
            }
            None => {}
        }
    }

    /// Looks until `stop` turns true.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look(Instant::now()),
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }
}

fn gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_it_sees() {
        let metrics = Metrics::new();
        let pressure = Arc::new(Pressure::default());
        let mut samples = [Some(50), Some(150), None, Some(60)].into_iter();
        let sampler = Box::new(move || samples.next().flatten());
        let mut guard = Guard::new(100, sampler, Arc::clone(&pressure), &metrics);
        let now = Instant::now();
        let mut seen = vec![];
        for _ in 0..4 {
            guard.look(now);
            let held = metrics.memory_held.get();
            assert_eq!(metrics.memory_refusing.get() == 1, pressure.is_high());
            seen.push((held, pressure.is_high()));
        }
        assert_eq!(seen, [(50, false), (150, true), (150, true), (60, false)]);
        assert_eq!(metrics.memory_mark.get(), 100);
    }
}
