//! Random texts and numbers: ids and codes here guard nothing but a stand-in.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Random bytes in base64url. Zeroes stand for a failure of the random source.
pub(crate) fn text(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    let _ = rand::fill(&mut buffer);
    URL_SAFE_NO_PAD.encode(buffer)
}

/// A random number below `bound` (of at most 65,536).
pub(crate) fn below(bound: u32) -> u32 {
    let mut buffer = [0; 4];
    let _ = rand::fill(&mut buffer);
    u32::from_le_bytes(buffer) % bound.max(1)
}
