//! Whether there is memory for new work: a switch that whoever takes work looks at.
//!
//! Nothing is measured here. [`Watermark`] is told what the process holds and when; a clock and
//! `/proc` are for its caller.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::StatusCode;

use super::Refused;

/// New work is refused: what is under way is to have the memory that is left.
pub const NO_MEMORY: Refused = Refused::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "memory",
    "the gateway is short of memory",
);

/// How long new work is refused before what is still held is taken for what stays.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether new work is refused for want of memory. Looking costs one relaxed load.
#[derive(Debug, Default)]
pub struct Pressure(AtomicBool);

impl Pressure {
    /// Whether new work is to be refused.
    #[must_use]
    pub fn is_high(&self) -> bool {
        // Nothing else is read by what this says, so no order is needed.
        self.0.load(Ordering::Relaxed)
    }
}

/// Turns samples of memory into [`Pressure`].
///
/// Above the mark new work is refused, until the process holds an eighth less. An allocator may
/// keep what was freed, and then the process never holds less: after ten seconds of refusing, work
/// is taken again as long as it fits into what is held already and a little more. That cannot be
/// repeated beyond three sixteenths above the mark, where only less memory helps.
#[derive(Debug)]
pub struct Watermark {
    pressure: Arc<Pressure>,
    /// As configured.
    mark: usize,
    /// The mark that holds now: higher, when memory was not given back.
    current: usize,
    since: Option<Instant>,
}

impl Watermark {
    /// Refuses work above `mark` bytes.
    #[must_use]
    pub fn new(mark: usize, pressure: Arc<Pressure>) -> Self {
        Self {
            pressure,
            mark,
            current: mark,
            since: None,
        }
    }

    /// Takes what the process holds at `now`, in bytes. Says so when that changes whether work is
    /// refused.
    pub fn sample(&mut self, held: usize, now: Instant) -> Option<bool> {
        let low = self.mark - self.mark / 8;
        match self.since {
            None if held > self.current => {
                self.since = Some(now);
                self.switch(true)
            }
            None => {
                if held <= low {
                    self.current = self.mark;
                }
                None
            }
            Some(_) if held <= low => {
                self.current = self.mark;
                self.since = None;
                self.switch(false)
            }
            Some(since) if now.duration_since(since) >= PATIENCE => {
                let most = self.mark.saturating_add(self.mark / 16 * 3);
                if held >= most {
                    return None;
                }
                self.current = held.saturating_add(self.mark / 64).clamp(self.mark, most);
                self.since = None;
                self.switch(false)
            }
            Some(_) => None,
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the answer of every caller")]
    fn switch(&self, high: bool) -> Option<bool> {
        self.pressure.0.store(high, Ordering::Relaxed);
        Some(high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the samples do to a mark of 1,600; each is the second and what is held.
    fn check(samples: &[(u64, usize)], expect: &[bool]) {
        let pressure = Arc::new(Pressure::default());
        let mut watermark = Watermark::new(1600, Arc::clone(&pressure));
        let begun = Instant::now();
        let seen: Vec<_> = samples
            .iter()
            .map(|(second, held)| {
                watermark.sample(*held, begun + Duration::from_secs(*second));
                pressure.is_high()
            })
            .collect();
        assert_eq!(seen, expect, "{samples:?}");
    }

    #[test]
    fn work_is_refused_above_the_mark_and_taken_again_well_below() {
        check(
            &[(0, 1600), (1, 1601), (2, 1500), (3, 1401), (4, 1400)],
            &[false, true, true, true, false],
        );
    }

    #[test]
    fn what_is_never_given_back_does_not_end_the_service() {
        check(
            &[(0, 1700), (9, 1700), (10, 1700), (11, 1725), (12, 1726)],
            &[true, true, false, false, true],
        );
        // What was given back later counts anew.
        check(
            &[(0, 1700), (10, 1700), (11, 1300), (12, 1601)],
            &[true, false, false, true],
        );
    }

    #[test]
    fn near_the_end_only_less_memory_helps() {
        check(
            &[(0, 1900), (10, 1900), (1000, 1900), (1001, 1400)],
            &[true, true, true, false],
        );
        // However often it is repeated.
        let mut watermark = Watermark::new(1600, Arc::default());
        let begun = Instant::now();
        let mut held = 1601;
        for second in 0..1000 {
            watermark.sample(held, begun + Duration::from_secs(second));
            if !watermark.pressure.is_high() {
                held += 10;
            }
        }
        assert!((1900..1920).contains(&held), "{held}");
    }

    #[test]
    fn says_only_what_has_changed() {
        let mut watermark = Watermark::new(1600, Arc::default());
        let now = Instant::now();
        assert_eq!(watermark.sample(1, now), None);
        assert_eq!(watermark.sample(2000, now), Some(true));
        assert_eq!(watermark.sample(2000, now), None);
        assert_eq!(watermark.sample(1, now), Some(false));
    }
}
