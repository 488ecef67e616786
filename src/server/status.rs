//! What `/status` says, from the parts that run.
//!
//! Names, numbers and the sentences of the gateway: nothing that a client or Entra sent.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus::{core::Collector, proto::MetricFamily};
use serde_json::{Value, json};

use super::Machine;
use crate::{
    oauth::aadsts,
    telemetry::{
        metrics::Metrics,
        provider_errors::{ProviderErrors, Seen},
    },
    upstream::Pool,
};

/// Writes the members of the status beside those of the admin listener itself.
///
/// `now` is in seconds since the Unix epoch.
pub(super) fn of(
    metrics: &Metrics,
    pools: &[Arc<Pool>],
    now: u64,
) -> serde_json::Map<String, Value> {
    let upstreams: serde_json::Map<_, _> = pools
        .iter()
        .map(|pool| {
            let backends = json!({ "backends": pool.status() });
            (pool.name().to_owned(), backends)
        })
        .collect();
    let parts = [
        (
            "authorization_server",
            json!({
                "keys": keys(metrics.key_set_fetched.get(), now),
                "errors": errors(&metrics.provider_errors),
            }),
        ),
        ("certificates", json!(certificates(metrics, now))),
        ("open_files_limit", json!(Machine::read().files)),
        ("upstreams", Value::Object(upstreams)),
    ];
    parts
        .into_iter()
        .map(|(name, part)| (name.to_owned(), part))
        .collect()
}

/// When the keys in use were fetched; nothing when there are none.
fn keys(fetched: i64, now: u64) -> Value {
    match u64::try_from(fetched) {
        Ok(fetched) if fetched > 0 => json!({
            "fetched": time(fetched),
            "age_seconds": now.saturating_sub(fetched),
        }),
        _ => Value::Null,
    }
}

fn errors(errors: &ProviderErrors) -> Vec<Value> {
    let one = |(code, Seen { count, last, .. }): (Option<u32>, Seen)| {
        let name = code.map_or_else(|| "other".to_owned(), |code| format!("AADSTS{code}"));
        let last = time(last);
        match code.and_then(aadsts::find) {
            Some(hint) => json!({
                "code": name,
                "count": count,
                "last": last,
                "means": hint.means,
                "who": hint.who.as_str(),
                "must_act": hint.who.must_act(),
                "remedy": hint.remedy,
            }),
            None => json!({ "code": name, "count": count, "last": last }),
        }
    };
    errors.seen().into_iter().map(one).collect()
}

/// When each certificate expires, by its first name.
fn certificates(metrics: &Metrics, now: u64) -> BTreeMap<String, Value> {
    let families = metrics.certificate_not_after.collect();
    let samples = families.iter().flat_map(MetricFamily::get_metric);
    samples
        .filter_map(|sample| {
            let name = sample.get_label().first()?.value().to_owned();
            let left = Duration::try_from_secs_f64(sample.get_gauge().get_value()).ok()?;
            let expires = left.as_secs();
            let shown = json!({
                "expires": time(expires),
                "days_left": expires.saturating_sub(now) / 86_400,
            });
            Some((name, shown))
        })
        .collect()
}

fn time(seconds: u64) -> String {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .map_or_else(String::new, |time| {
            humantime::format_rfc3339_seconds(time).to_string()
        })
}

/// The clock of this machine, in seconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_errors_keys_and_certificates() {
        let metrics = Metrics::new();
        let _ = metrics.provider_errors.count(None, 1_799_999_000);
        let _ = metrics.provider_errors.count(Some(50011), 1_800_000_000);
        metrics.key_set_fetched.set(1_799_999_940);
        metrics
            .certificate_not_after
            .with_label_values(&["mcp.test"])
            .set(1_800_864_000.0);
        let status = of(&metrics, &[], 1_800_000_000);
        let server = &status["authorization_server"];
        assert_eq!(server["keys"]["age_seconds"], 60);
        let first = &server["errors"][0];
        assert_eq!(first["code"], "AADSTS50011");
        assert_eq!(first["count"], 1);
        assert_eq!(first["last"], "2027-01-15T08:00:00Z");
        assert_eq!(first["must_act"], true);
        assert!(
            first["remedy"]
                .as_str()
                .unwrap()
                .contains("Mobile and desktop")
        );
        assert_eq!(server["errors"][1]["code"], "other");
        assert_eq!(status["certificates"]["mcp.test"]["days_left"], 10);
    }

    #[test]
    fn without_keys_there_is_nothing_to_be_old() {
        assert_eq!(keys(0, 5), Value::Null);
        assert_eq!(keys(-1, 5), Value::Null);
    }
}
