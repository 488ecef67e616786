//! Arbitrary forms through the filters of a token endpoint.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mcp_gateway_filters::{Filter, Verdict};
use mcp_gateway_fuzz::{
    filters::{build, context, post, reform},
    pairs::{decode, join, name, segments, values},
};
use serde_json::json;

const SCOPES: [&str; 2] = ["openid", "offline_access"];
/// What would let a client be more than a user at a public client.
const CREDENTIALS: [&str; 3] = ["client_secret", "client_assertion", "client_assertion_type"];

static STRIP: LazyLock<Box<dyn Filter>> =
    LazyLock::new(|| build("strip_form", json!({ "params": ["resource"] })));
static COMPLETE: LazyLock<Box<dyn Filter>> = LazyLock::new(|| {
    build(
        "repair_scope",
        json!({ "in": "form", "scopes": SCOPES, "default": ["openid", "profile"] }),
    )
});
static CHECK: LazyLock<Box<dyn Filter>> =
    LazyLock::new(|| build("check_token_request", json!({ "client_id": "c1" })));
static TO_QUERY: LazyLock<Box<dyn Filter>> = LazyLock::new(|| build("form_to_query", json!({})));

fuzz_target!(|form: &[u8]| {
    strips(form);
    completes(form);
    checks(form);
    moves(form);
});

fn strips(form: &[u8]) {
    let kept: Vec<&[u8]> = segments(form).filter(|s| name(s) != b"resource").collect();
    let expected = (kept.len() < segments(form).count()).then(|| join(&kept));
    let found = reform(&**STRIP, form).expect("strip_form refuses no form");
    assert_eq!(found, expected);
}

fn completes(form: &[u8]) {
    let grants = values(form, "grant_type");
    let user = |grant: &Vec<u8>| matches!(&grant[..], b"authorization_code" | b"refresh_token");
    let asked = values(form, "scope");
    let completed = match reform(&**COMPLETE, form) {
        Ok(completed) => completed,
        Err(refusal) => {
            assert!(asked.len() > 1 && grants.iter().any(user), "{refusal}");
            return;
        }
    };
    if !grants.iter().any(user) {
        assert_eq!(completed, None, "another grant is not ours to change");
        return;
    }
    let completed = completed.unwrap_or_else(|| form.to_vec());
    let granted = values(&completed, "scope");
    let [granted] = granted.as_slice() else {
        panic!("{granted:?}")
    };
    match asked.first().filter(|asked| !asked.trim_ascii().is_empty()) {
        Some(asked) => {
            assert!(granted.starts_with(asked), "nothing is taken away");
            let words: Vec<&[u8]> = granted.split(|byte| *byte == b' ').collect();
            assert!(SCOPES.iter().all(|scope| words.contains(&scope.as_bytes())));
        }
        None => assert_eq!(granted, b"openid profile offline_access"),
    }
    let others = |form: &[u8]| -> Vec<Vec<u8>> {
        let others = segments(form).filter(|s| name(s) != b"scope" && !s.is_empty());
        others.map(<[u8]>::to_vec).collect()
    };
    assert_eq!(others(&completed), others(form));
    assert_eq!(reform(&**COMPLETE, &completed), Ok(None));
}

fn checks(form: &[u8]) {
    let body = Bytes::copy_from_slice(form);
    match CHECK.request_body(&context(), &post(), &body) {
        Ok(Verdict::Continue(edits)) => {
            assert_eq!(edits, mcp_gateway_filters::Edits::default());
            assert_eq!(values(form, "client_id"), [b"c1"]);
            let needed: &[&str] = match values(form, "grant_type").as_slice() {
                [grant] if grant == b"authorization_code" => &["code", "code_verifier"],
                [grant] if grant == b"refresh_token" => &["refresh_token"],
                grants => panic!("{grants:?}"),
            };
            for needed in needed {
                let found = values(form, needed);
                assert!(matches!(found.as_slice(), [one] if !one.is_empty()));
            }
            for segment in segments(form) {
                let name = name(segment).to_ascii_lowercase();
                assert!(!CREDENTIALS.iter().any(|other| name == other.as_bytes()));
                let text = decode(segment);
                assert!(!text.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')));
            }
        }
        Ok(Verdict::Respond(answer)) => panic!("answered {answer:?}"),
        Err(refusal) => assert!(refusal.status.is_client_error()),
    }
}

fn moves(form: &[u8]) {
    let mut head = post();
    head.uri = http::Uri::from_static("/a?first=1");
    let body = Bytes::copy_from_slice(form);
    match TO_QUERY.request_body(&context(), &head, &body) {
        Ok(Verdict::Continue(edits)) => {
            assert_eq!(edits.body, Some(Bytes::new()));
            let Some(target) = edits.target else {
                assert_eq!(form, b"");
                return;
            };
            let query = target.query().unwrap_or_default().as_bytes();
            let moved: Vec<_> = segments(query).skip(1).map(decode).collect();
            assert_eq!(segments(query).next(), Some(&b"first=1"[..]));
            assert_eq!(moved, segments(form).map(decode).collect::<Vec<_>>());
        }
        Ok(Verdict::Respond(answer)) => panic!("answered {answer:?}"),
        Err(refusal) => {
            assert_eq!(refusal.status, http::StatusCode::BAD_REQUEST);
            assert!(form.len() > 10_000, "a form that fits is moved");
        }
    }
}
