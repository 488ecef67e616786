//! Random choices that many threads make at once without waiting for each other.
//!
//! Not for secrets: the sequence is predictable from its seed, which is what a test wants.

use std::sync::atomic::{AtomicU64, Ordering};

/// The `SplitMix64` generator, whose state is a counter and therefore one atomic addition.
#[derive(Debug)]
pub(super) struct Random(AtomicU64);

/// The golden ratio in 64 bits: the step of `SplitMix64`.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Starts the sequence that belongs to `seed`.
    pub(super) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Returns the next number of the sequence.
    pub(super) fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, or 0 when `bound` is 0.
    ///
    /// The bias is below `bound / 2^32`, which no choice between backends can show.
    pub(super) fn below(&self, bound: u32) -> u32 {
        let wide = (self.next() >> 32) * u64::from(bound);
        u32::try_from(wide >> 32).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_reference_sequence() {
        // The first outputs of SplitMix64 for the seed 1234567, as published with the algorithm.
        let random = Random::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn stays_below_the_bound_and_reaches_every_value() {
        let random = Random::new(7);
        let mut seen = [0_u32; 5];
        for _ in 0..1000 {
            seen[random.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| n > 100), "{seen:?}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }
}
