//! Arbitrary answers of a token endpoint through `swap_token`.
//!
//! Two words of the input are replaced, which no mutation would find: `@ID@` by an id token that has
//! not expired, `@AT@` by an access token that must never leave.
#![no_main]

use std::{collections::BTreeMap, sync::LazyLock};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use libfuzzer_sys::fuzz_target;
use mcp_gateway_filters::Filter;
use mcp_gateway_fuzz::filters::{NOW, build, context, post};
use serde_json::{Value, json, value::RawValue};

const LIFETIME: u64 = 3600;
const SECRET: &str = "graph-4f0e8a446ad6f0fb";
const PUBLISHED: [&str; 2] = ["openid", "profile"];
/// The members whose values are the filter's.
const OURS: [&str; 4] = ["access_token", "expires_in", "ext_expires_in", "scope"];

static SWAP: LazyLock<Box<dyn Filter>> =
    LazyLock::new(|| build("swap_token", json!({ "scopes": PUBLISHED })));
static ID_TOKEN: LazyLock<String> = LazyLock::new(|| {
    let payload = json!({ "aud": "c1", "exp": NOW + LIFETIME }).to_string();
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
});

type Members<'a> = BTreeMap<String, &'a RawValue>;

fuzz_target!(|answer: &[u8]| {
    let text = String::from_utf8_lossy(answer);
    let text = text.replace("@ID@", &ID_TOKEN).replace("@AT@", SECRET);
    // As it came, too: it need not be text.
    let _ = swap(answer);
    match swap(text.as_bytes()) {
        Ok(swapped) => check(&text, &swapped),
        Err(description) => assert!(!description.contains(SECRET)),
    }
});

fn swap(answer: &[u8]) -> Result<String, String> {
    let (mut head, ()) = Response::new(()).into_parts();
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(CONTENT_TYPE, json);
    let body = Bytes::copy_from_slice(answer);
    SWAP.response_body(&context(), &post(), &head, body)
        .map(|body| String::from_utf8(body.to_vec()).expect("text stays text"))
        .map_err(|refusal| {
            assert_eq!(refusal.status.as_u16(), 502);
            refusal.to_string()
        })
}

fn check(before: &str, after: &str) {
    let old: Members<'_> = serde_json::from_str(before).expect("swapped, so an object");
    let new: Members<'_> = serde_json::from_str(after).expect("still an object");
    let text = |members: &Members<'_>, name: &str| -> Option<String> {
        let value: Option<Value> = serde_json::from_str(members.get(name)?.get()).ok();
        value?.as_str().map(str::to_owned)
    };
    let id_token = text(&old, "id_token").expect("no id token, no answer");
    assert_eq!(text(&new, "access_token").as_ref(), Some(&id_token));

    let lifetime: u64 = serde_json::from_str(new["expires_in"].get()).expect("a number");
    assert!(lifetime > 0);
    let granted = text(&new, "scope").unwrap_or_default();
    let mut granted = granted.split(' ').filter(|scope| !scope.is_empty());
    assert!(granted.all(|scope| PUBLISHED.contains(&scope)));

    // Everything else stays as it is written, and nothing is added but a lifetime.
    let others = |members: &Members<'_>| -> Vec<(String, String)> {
        let others = members
            .iter()
            .filter(|(name, _)| !OURS.contains(&name.as_str()));
        others
            .map(|(name, value)| (name.clone(), value.get().to_owned()))
            .collect()
    };
    assert_eq!(others(&new), others(&old));
    let added: Vec<_> = new.keys().filter(|name| !old.contains_key(*name)).collect();
    assert!(added.iter().all(|name| *name == "expires_in"), "{added:?}");
    assert!(old.keys().all(|name| new.contains_key(name)));

    // Unless the provider itself says it elsewhere, in the id token even.
    let kept = others(&old)
        .into_iter()
        .flat_map(|(name, value)| [name, value]);
    let mut kept = kept.chain([id_token]);
    assert!(
        kept.any(|text| text.contains(SECRET)) || !after.contains(SECRET),
        "the access token stands in the answer"
    );
    assert_eq!(
        swap(after.as_bytes()).as_deref(),
        Ok(after),
        "swapped twice"
    );
}
