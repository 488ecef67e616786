//! How many HTTP/2 frames a client may send that ask for nothing.
//!
//! Settings, pings, priorities, resets and empty frames cost their receiver work and their sender
//! next to nothing. The h2 library bounds some of them; here all are counted alike, whatever they
//! say. Frames are not checked: only their heads are looked at, as they pass.

use std::time::{Duration, Instant};

use super::Refused;

/// What a client sends before its first frame (RFC 9113 §3.4).
const PREFACE: u32 = 24;
/// The head of a frame (RFC 9113 §4.1).
const HEAD: usize = 9;
/// Idle frames that may come at once.
const BURST: u32 = 1000;
/// One more may come after each of these.
const REFILL: Duration = Duration::from_millis(10);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END: u8 = 1;

/// A walk over the frames of one client.
#[derive(Clone, Debug)]
pub struct FrameScan {
    /// Bytes before the next frame.
    skip: u32,
    head: [u8; HEAD],
    /// How much of the head is there.
    have: usize,
    /// Idle frames that may still come.
    left: u32,
    refilled: Instant,
}

impl FrameScan {
    /// Starts before the first byte of a connection.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            skip: PREFACE,
            head: [0; HEAD],
            have: 0,
            left: BURST,
            refilled: now,
        }
    }

    /// Walks over the next bytes.
    ///
    /// # Errors
    /// When too many frames ask for nothing.
    pub fn scan(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Refused> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.skip > 0 {
                let skipped = bytes.len().min(self.skip as usize);
                self.skip -= u32::try_from(skipped).unwrap_or(self.skip);
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(byte) = self.head.get_mut(self.have) {
                *byte = *first;
            }
            self.have += 1;
            bytes = rest;
            if self.have == HEAD {
                self.have = 0;
                self.frame(now)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, now: Instant) -> Result<(), Refused> {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.skip = u32::from_be_bytes([0, high, middle, low]);
        let idle = match kind {
            // What ends a stream may be empty.
            DATA => self.skip == 0 && flags & END == 0,
            HEADERS | CONTINUATION => self.skip == 0,
            // Whoever takes a large answer sends many.
            WINDOW_UPDATE => false,
            _ => true,
        };
        if !idle {
            return Ok(());
        }
        if self.left == 0 {
            self.refill(now);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Refused::bad(
                "http2_frames",
                "the client sends too many frames that ask for nothing",
            )),
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled);
        let more = passed.as_millis() / REFILL.as_millis();
        self.left = u32::try_from(more).unwrap_or(BURST).min(BURST);
        self.refilled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.resize(HEAD + length, 0xff);
        bytes
    }

    /// Sends the preface and so many frames, in pieces; says whether all may pass.
    fn check(frame: &[u8], count: u32, expect: bool) {
        let bytes = [vec![b'p'; 24], frame.repeat(count as usize)].concat();
        for piece in [1, 7, bytes.len()] {
            let now = Instant::now();
            let mut scan = FrameScan::new(now);
            let passed = bytes
                .chunks(piece)
                .all(|piece| scan.scan(piece, now).is_ok());
            assert_eq!(passed, expect, "{frame:?}");
        }
    }

    #[test]
    fn frames_that_ask_for_nothing_have_a_budget() {
        const { assert!(BURST == 1000) };
        let idle = [
            (3, 0, 4),
            (4, 0, 6),
            (4, END, 0),
            (6, 0, 8),
            (2, 0, 5),
            (DATA, 0, 0),
            (HEADERS, 4, 0),
            (CONTINUATION, 0, 0),
            (99, 0, 3),
        ];
        for (kind, flags, length) in idle {
            check(&frame(kind, flags, length), BURST, true);
            check(&frame(kind, flags, length), BURST + 1, false);
        }
    }

    #[test]
    fn work_is_not_counted() {
        for (kind, flags, length) in [(DATA, 0, 1), (DATA, END, 0), (HEADERS, 5, 30), (8, 0, 4)] {
            check(&frame(kind, flags, length), 3000, true);
        }
    }

    #[test]
    fn the_budget_comes_back_with_time() {
        let ping = frame(6, 0, 8);
        let now = Instant::now();
        let mut scan = FrameScan::new(now);
        scan.scan(&[b'p'; 24], now).unwrap();
        for second in 0..60 {
            let now = now + Duration::from_secs(second);
            assert_eq!(scan.scan(&ping.repeat(100), now), Ok(()), "{second}");
        }
    }
}
