//! The vectors of `http-desync-guardian`, each sent as it stands, with a `Host` where it has none:
//! otherwise that alone would be the reason to refuse it.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use serde::Deserialize;
use tokio::time::timeout;

use crate::world::Edge;

#[derive(Deserialize)]
struct Vector {
    name: String,
    method: String,
    uri: String,
    version: String,
    headers: Vec<Field>,
    tier: String,
    reason: String,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    value: String,
}

impl Vector {
    /// The request with a body that fits what it announces, and a second request behind it.
    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} {}\r\n", self.method, self.uri, self.version);
        let named = |wanted: &str| {
            self.headers
                .iter()
                .find(|field| field.name.trim().eq_ignore_ascii_case(wanted))
        };
        if named("host").is_none() {
            text.push_str("Host: judge.test\r\n");
        }
        for field in &self.headers {
            write!(text, "{}:{}\r\n", field.name, field.value).unwrap();
        }
        text.push_str("\r\n");
        // The vectors write bytes as the characters of the same number.
        let mut bytes: Vec<u8> = text
            .chars()
            .flat_map(|c| match u8::try_from(u32::from(c)) {
                Ok(byte) => vec![byte],
                Err(_) => c.to_string().into_bytes(),
            })
            .collect();
        let length = named("content-length").and_then(|field| field.value.trim().parse().ok());
        match length {
            Some(length) if named("transfer-encoding").is_none() => {
                bytes.extend(std::iter::repeat_n(b'a', length));
            }
            _ if named("transfer-encoding").is_some() => bytes.extend(b"0\r\n\r\n"),
            _ => {}
        }
        bytes
    }
}

#[tokio::test]
async fn what_is_doubtful_is_refused_and_what_is_forwarded_is_clean() {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../vectors/http-desync-guardian.json")).unwrap();
    let edge = Edge::plain().await;
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut wrong = vec![];
    for vector in &vectors {
        let before = edge.judge.seen().len();
        let name = format!("{} ({}, {})", vector.name, vector.tier, vector.reason);
        let bytes = vector.bytes();
        let Ok(answer) = timeout(Duration::from_secs(10), edge.ask(&bytes)).await else {
            wrong.push(format!("{name}: no answer"));
            continue;
        };
        let seen = edge.judge.seen().split_off(before);
        for request in &seen {
            if !request.doubts.is_empty() {
                wrong.push(format!("{name}: arrived with {:?}", request.doubts));
            }
        }
        let outcome = match (answer.status, seen.len()) {
            (Some(400..=499), 0) if answer.closed => "refused",
            (Some(200), 1) => "forwarded",
            _ => "neither",
        };
        *counts.entry((&vector.tier, outcome)).or_default() += 1;
        let expected = match vector.tier.as_str() {
            // Stricter than the standard in places, and never unsure.
            "Compliant" => outcome != "neither",
            _ if vector.reason == "GetHeadZeroContentLength" => outcome == "forwarded",
            _ => outcome == "refused",
        };
        if !expected {
            wrong.push(format!(
                "{name}: {outcome}, {:?} {:?} {:?}",
                answer.status,
                vector.uri,
                vector
                    .headers
                    .iter()
                    .map(|field| (&field.name, &field.value))
                    .collect::<Vec<_>>()
            ));
        }
    }
    println!("{} vectors: {counts:?}", vectors.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
