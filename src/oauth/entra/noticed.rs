//! Counting what Entra refuses, and naming it in the log.

use crate::{
    oauth::aadsts::{self, Hint},
    telemetry::provider_errors::ProviderErrors,
};

/// Counts an error of Entra's and names it in the log, once a minute for each number.
///
/// Returns what is known about it. `now` is in seconds since the Unix epoch. Only the number and our
/// own sentences are logged: Entra's words can hold names of users.
#[expect(
    clippy::must_use_candidate,
    reason = "counting is what it is called for; the hint is for those who answer somebody"
)]
pub fn noticed(errors: &ProviderErrors, code: u32, now: u64) -> Option<&'static Hint> {
    let hint = aadsts::find(code);
    if let Some(left_out) = errors.count(hint.map(|hint| hint.code), now) {
        match hint {
            Some(Hint {
                means, who, remedy, ..
            }) if who.must_act() => {
                log::warn!(aadsts = code, means, remedy, who:%, left_out; "Entra refused a request");
            }
            Some(Hint { means, who, .. }) => {
                log::info!(aadsts = code, means, who:%, left_out; "Entra refused a request");
            }
            None => log::info!(aadsts = code, left_out; "Entra refused a request"),
        }
    }
    hint
}
