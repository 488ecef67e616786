//! The clock of a stand-in: the real one, moved by an offset that a test controls.
//!
//! Tokens and codes expire by this clock, so a test passes an hour in no time. Timers (idle
//! connections, keep-alive comments) run on real time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970, as moved by [`Clock::advance`].
#[derive(Debug, Default)]
pub struct Clock {
    offset: AtomicI64,
}

impl Clock {
    /// Returns a clock that shows the real time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the Unix time in seconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        let real = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        i64::try_from(real)
            .unwrap_or(i64::MAX)
            .saturating_add(self.offset.load(Ordering::Relaxed))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        self.offset.fetch_add(by, Ordering::Relaxed);
    }
}

/// A Unix time as calendar fields, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Calendar {
    year: i64,
    month: i64,
    day: i64,
    second: i64,
}

/// Splits a Unix time into calendar fields (proleptic Gregorian, no leap seconds).
fn calendar(unix: i64) -> Calendar {
    let days = unix.div_euclid(86_400);
    let second = unix.rem_euclid(86_400);
    // Years counted from the first of March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Calendar {
        year,
        month,
        day,
        second,
    }
}

/// Writes a Unix time as Entra does: `2026-01-09 02:02:12Z`.
pub(crate) fn entra_timestamp(unix: i64) -> String {
    timestamp(unix, ' ')
}

/// Writes a Unix time after RFC 3339: `2026-01-09T02:02:12Z`.
pub(crate) fn rfc3339(unix: i64) -> String {
    timestamp(unix, 'T')
}

fn timestamp(unix: i64, between: char) -> String {
    let Calendar {
        year,
        month,
        day,
        second,
    } = calendar(unix);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_are_written_as_known() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_767_924_132), "2026-01-09T02:02:12Z");
        assert_eq!(rfc3339(-62_135_596_800), "0001-01-01T00:00:00Z");
        assert_eq!(entra_timestamp(1_767_924_132), "2026-01-09 02:02:12Z");
    }

    #[test]
    fn an_advanced_clock_shows_a_later_time() {
        let clock = Clock::new();
        let before = clock.now();
        clock.advance(Duration::from_secs(3_600));
        assert!(clock.now() >= before + 3_600);
    }
}
