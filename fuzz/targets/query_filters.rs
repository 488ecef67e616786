//! Arbitrary queries through the filters of an authorization endpoint.
#![no_main]

use std::sync::LazyLock;

use http::{Method, header::LOCATION};
use libfuzzer_sys::fuzz_target;
use mcp_gateway_filters::{Filter, Verdict};
use mcp_gateway_fuzz::{
    filters::{build, context, get, requery},
    pairs::{join, name, segments, value, values},
};
use serde_json::json;

const DROPPED: [&str; 2] = ["resource", "prompt"];
const SCOPES: [&str; 2] = ["openid", "offline_access"];
const HINT: &str = "a b&c=%+";
const EXACT: &str = "https://app.test/cb";

static STRIP: LazyLock<Box<dyn Filter>> =
    LazyLock::new(|| build("strip_query", json!({ "params": DROPPED })));
static SET: LazyLock<Box<dyn Filter>> =
    LazyLock::new(|| build("set_query", json!({ "params": { "domain_hint": HINT } })));
static COMPLETE: LazyLock<Box<dyn Filter>> = LazyLock::new(|| {
    build(
        "repair_scope",
        json!({ "in": "query", "scopes": SCOPES, "default": ["openid", "profile"] }),
    )
});
static REPAIR: LazyLock<Box<dyn Filter>> = LazyLock::new(|| {
    build(
        "repair_scope",
        json!({
            "in": "query", "scopes": SCOPES, "default": [], "others": "drop",
            "api": { "prefix": "a", "aliases": ["api://a"], "scopes": ["read", "write"] },
        }),
    )
});
static CHECK: LazyLock<Box<dyn Filter>> = LazyLock::new(|| {
    build(
        "check_authorize",
        json!({ "client_id": "c1", "redirect_uris": { "presets": [], "allow": [EXACT] } }),
    )
});

fuzz_target!(|query: &[u8]| {
    if get(query).is_none() {
        return;
    }
    strips(query);
    sets(query);
    completes(query);
    repairs(query);
    checks(query);
});

fn strips(query: &[u8]) {
    let Some(head) = get(query) else { return };
    let kept: Vec<&[u8]> = segments(query)
        .filter(|segment| !DROPPED.iter().any(|d| name(segment) == d.as_bytes()))
        .collect();
    let expected = (kept.len() < segments(query).count()).then(|| join(&kept));
    let found = requery(&**STRIP, &head).expect("less of a target is one");
    assert_eq!(found, expected);
}

fn sets(query: &[u8]) {
    let Some(head) = get(query) else { return };
    let is_ours = |segment: &[u8]| name(segment) == b"domain_hint";
    let Ok(set) = requery(&**SET, &head) else {
        assert!(query.len() > 60_000, "refused without need");
        return;
    };
    let set = set.unwrap_or_else(|| query.to_vec());
    assert_eq!(values(&set, "domain_hint"), [HINT.as_bytes()]);
    let others = |query: &[u8]| -> Vec<Vec<u8>> {
        let others = segments(query).filter(|segment| !is_ours(segment));
        others.map(<[u8]>::to_vec).collect()
    };
    // A pair behind a trailing `&` fills the empty segment there, an empty query too.
    let mut before = others(query);
    if !segments(query).any(is_ours) && before.last().is_some_and(Vec::is_empty) {
        before.pop();
    }
    assert_eq!(others(&set), before);
    if let Some(head) = get(&set) {
        assert_eq!(requery(&**SET, &head), Ok(None), "set twice is set once");
    }
}

fn completes(query: &[u8]) {
    let Some(head) = get(query) else { return };
    let asked = values(query, "scope");
    let completed = match requery(&**COMPLETE, &head) {
        Ok(completed) => completed.unwrap_or_else(|| query.to_vec()),
        Err(refusal) => {
            let long = query.len() > 60_000;
            assert!(asked.len() > 1 || long, "{refusal}");
            return;
        }
    };
    assert!(asked.len() < 2);
    let granted = values(&completed, "scope");
    let [granted] = granted.as_slice() else {
        panic!("{granted:?}")
    };
    let words: Vec<&[u8]> = granted.split(|byte| *byte == b' ').collect();
    let default = asked
        .first()
        .is_none_or(|asked| asked.trim_ascii().is_empty());
    if default {
        assert_eq!(granted, b"openid profile offline_access");
    } else {
        assert!(granted.starts_with(&asked[0]), "nothing is taken away");
        for scope in SCOPES {
            assert!(words.contains(&scope.as_bytes()));
        }
    }
    // Every other pair stays, byte for byte and in its order.
    let others = |query: &[u8]| -> Vec<Vec<u8>> {
        let others = segments(query).filter(|s| name(s) != b"scope" && !s.is_empty());
        others.map(<[u8]>::to_vec).collect()
    };
    assert_eq!(others(&completed), others(query));
    if let Some(head) = get(&completed) {
        assert_eq!(requery(&**COMPLETE, &head), Ok(None));
    }
}

/// Scopes of one API go on, in one form, and always at least one.
fn repairs(query: &[u8]) {
    let Some(head) = get(query) else { return };
    let Ok(repaired) = requery(&**REPAIR, &head) else {
        return;
    };
    let repaired = repaired.unwrap_or_else(|| query.to_vec());
    let granted = values(&repaired, "scope");
    let [granted] = granted.as_slice() else {
        panic!("{granted:?}")
    };
    let mut of_api = 0;
    for word in granted.split(|byte| *byte == b' ') {
        match word.trim_ascii() {
            b"" | b"openid" | b"offline_access" => {}
            b"a/read" | b"a/write" | b"A/read" | b"A/write" => of_api += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(of_api > 0, "{granted:?}");
    if let Some(head) = get(&repaired) {
        assert_eq!(requery(&**REPAIR, &head), Ok(None));
    }
}

fn checks(query: &[u8]) {
    let Some(mut head) = get(query) else { return };
    for method in [Method::GET, Method::POST] {
        head.method = method;
        match CHECK.request(&context(), &head) {
            Ok(Verdict::Continue(edits)) => {
                assert_eq!(edits, mcp_gateway_filters::Edits::default());
                assert_eq!(values(query, "client_id"), [b"c1"]);
                assert_eq!(values(query, "response_type"), [b"code"]);
                assert_eq!(values(query, "code_challenge_method"), [b"S256"]);
                let challenge = values(query, "code_challenge");
                assert!(matches!(challenge.as_slice(), [one] if one.len() >= 43));
                let uris = values(query, "redirect_uri");
                assert!(matches!(uris.as_slice(), [uri] if allowed(uri)), "{uris:?}");
                for once in ["state", "nonce", "scope", "response_mode"] {
                    assert!(values(query, once).len() < 2, "{once}");
                }
                for never in ["request", "request_uri"] {
                    assert!(values(query, never).is_empty(), "{never}");
                }
            }
            Ok(Verdict::Respond(answer)) => {
                let Some(location) = answer.headers().get(LOCATION) else {
                    assert!(answer.status().is_client_error());
                    continue;
                };
                // Only to the one allowed address that was asked for, whatever else is wrong.
                assert!(answer.status().is_redirection());
                let uris = values(query, "redirect_uri");
                let [uri] = uris.as_slice() else {
                    panic!("{uris:?}")
                };
                assert!(allowed(uri) && location.as_bytes().starts_with(uri));
                let raw: Vec<&[u8]> = segments(query).filter(|s| name(s) == b"state").collect();
                if let [state] = raw.as_slice() {
                    let answer = &location.as_bytes()[uri.len()..];
                    let answer = answer.strip_prefix(b"?").unwrap_or(answer);
                    assert!(values(answer, "state").contains(&value(state)));
                }
            }
            Err(refusal) => assert!(refusal.status.is_client_error()),
        }
    }
}

/// Whether a browser that is sent there stays on this machine, or is at the one other address.
fn allowed(uri: &[u8]) -> bool {
    let text = std::str::from_utf8(uri).expect("an address is text");
    let url = url::Url::parse(text).expect("browsers can read it");
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    text == EXACT || (url.scheme() == "http" && loopback && url.username().is_empty())
}
