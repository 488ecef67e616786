//! What each filter costs per message, on the kind of message it is for.
//!
//! `cargo bench --bench filters`. Every filter of the catalog has a case: a new one without stops
//! the run. Building is not measured, as it happens once per configuration.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, StatusCode, request};
use mcp_gateway_filters::{Catalog, Context, Filter, Refusal};

const FORM: &str = "application/x-www-form-urlencoded";
const NOW: u64 = 1_700_000_000;
const QUERY: &str = "client_id=c1&redirect_uri=http%3A%2F%2Flocalhost%3A3118%2Fcallback\
    &response_type=code&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM\
    &code_challenge_method=S256&state=a%2Fb%2Bc%3D&scope=openid+profile\
    &resource=https%3A%2F%2Fmcp.example.com%2Fmcp&prompt=consent";
const TOKEN_FORM: &str = "grant_type=authorization_code&client_id=c1&code=0.AXoA%2Fb\
    &code_verifier=dBjftJeZ4CVP-mBlHYBXVnlqgeIi1DZ8&scope=profile\
    &redirect_uri=http%3A%2F%2Flocalhost%3A3118%2Fcallback\
    &resource=https%3A%2F%2Fmcp.example.com%2Fmcp";

/// One filter, and the message that it sees.
struct Case {
    name: &'static str,
    settings: &'static str,
    head: request::Parts,
    body: Bytes,
    /// The status of the answer.
    status: StatusCode,
    /// The answer of an upstream, where the filter is about that.
    answer: Option<Bytes>,
}

impl Case {
    fn get(name: &'static str, settings: &'static str) -> Self {
        Self {
            name,
            settings,
            head: head("GET", None),
            body: Bytes::new(),
            status: StatusCode::OK,
            answer: None,
        }
    }

    fn post(name: &'static str, settings: &'static str, kind: &str, body: &'static str) -> Self {
        Self {
            head: head("POST", Some(kind)),
            body: Bytes::from_static(body.as_bytes()),
            ..Self::get(name, settings)
        }
    }
}

fn head(method: &str, content_type: Option<&str>) -> request::Parts {
    let mut builder = Request::builder()
        .method(method)
        .uri(format!("/oauth2/authorize?{QUERY}"))
        .header("host", "mcp.example.com")
        .header("origin", "https://inspector.example.com")
        .header("accept", "application/json, text/event-stream")
        .header("user-agent", "bench")
        .header("cookie", "a=b");
    if let Some(content_type) = content_type {
        builder = builder.header("content-type", content_type);
    }
    let (parts, ()) = builder.body(()).unwrap_or_default().into_parts();
    parts
}

fn cases() -> Vec<Case> {
    vec![
        Case::get("strip_query", "params: [resource, prompt]"),
        Case::post("strip_form", "params: [resource]", FORM, TOKEN_FORM),
        Case::get(
            "repair_scope",
            "{ in: query, scopes: [openid, offline_access], others: drop, \
             api: { prefix: 22222222-3333-4444-5555-666666666666, scopes: [tools.execute] } }",
        ),
        Case::get("prompt_policy", "keep: [login, select_account]"),
        Case::get(
            "map_resource",
            "{ in: query, to: 'https://mcp.example.com/api' }",
        ),
        Case::get("scope_to_claims", "names: { mfa: '{}', profile: '{}' }"),
        Case::get("set_query", "params: { domain_hint: example.com }"),
        Case::get("rewrite_path", "to: /mcp"),
        Case::get(
            "set_headers",
            "{ request: { accept-encoding: identity }, response: { x-a: b } }",
        ),
        Case::get("remove_headers", "request: [cookie, x-forwarded-*]"),
        Case::get("redirect", "to: https://login.example.com/authorize"),
        Case::get("respond", "json: { hello: world }"),
        Case::get(
            "cors",
            "{ origins: ['https://inspector.example.com'], expose: [mcp-session-id] }",
        ),
        Case::get(
            "protected_resource",
            "{ resource: 'https://mcp.example.com/mcp', \
             authorization_servers: ['https://mcp.example.com'] }",
        ),
        Case::get(
            "authorization_server",
            "{ issuer: 'https://gw.test', authorization_endpoint: 'https://gw.test/a', \
             token_endpoint: 'https://gw.test/t', jwks_uri: 'https://gw.test/k', scopes: [openid] }",
        ),
        Case::post(
            "register_client",
            "client_id: c1",
            "application/json",
            r#"{"redirect_uris":["http://localhost:3118/callback"],"client_name":"bench",
                "grant_types":["authorization_code","refresh_token"],"response_types":["code"],
                "token_endpoint_auth_method":"none"}"#,
        ),
        Case::post("form_to_query", "{}", FORM, TOKEN_FORM),
        Case::get("check_authorize", "client_id: c1"),
        Case::post("check_token_request", "client_id: c1", FORM, TOKEN_FORM),
        Case {
            answer: Some(token_answer()),
            ..Case::post("swap_token", "scopes: [openid, profile]", FORM, TOKEN_FORM)
        },
        Case {
            answer: Some(token_answer()),
            ..Case::post(
                "pass_token",
                "{ audiences: [a1], api: { prefix: a1, scopes: [tools.execute] } }",
                FORM,
                TOKEN_FORM,
            )
        },
        Case {
            status: StatusCode::BAD_REQUEST,
            answer: Some(Bytes::from_static(
                br#"{"error":"interaction_required","error_description":"AADSTS50076: Due to a
configuration change made by your administrator you must use multi-factor authentication.",
"error_codes":[50076],"timestamp":"2026-01-09 02:02:12Z","claims":"{\"access_token\":{}}"}"#,
            )),
            ..Case::post("restart_sign_in", "{}", FORM, TOKEN_FORM)
        },
    ]
}

/// A token answer of the usual size, some kilobytes.
fn token_answer() -> Bytes {
    // {"exp":1700003600} in base64url, between a header and a signature of the usual length.
    let id_token = format!(
        "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE3MDAwMDM2MDB9.{}",
        "a".repeat(342)
    );
    // {"aud":"a1","exp":1700003600}, the same way.
    let access_token = format!(
        "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJhMSIsImV4cCI6MTcwMDAwMzYwMH0.{}",
        "g".repeat(2342)
    );
    Bytes::from(format!(
        r#"{{"token_type":"Bearer","scope":"email openid profile User.Read","expires_in":4150,
"ext_expires_in":4150,"access_token":"{access_token}","refresh_token":"{}","id_token":"{id_token}"}}"#,
        "r".repeat(1200),
    ))
}

/// Passes one exchange through the filter the way the proxy does.
fn exchange(
    filter: &dyn Filter,
    case: &Case,
    answer: &http::response::Parts,
) -> Result<(), Refusal> {
    let cx = Context {
        now: NOW,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        route: "/bench",
        identity: None,
    };
    black_box(filter.request(&cx, black_box(&case.head))?);
    if filter.request_body_limit(&case.head).is_some() {
        black_box(filter.request_body(&cx, &case.head, black_box(&case.body))?);
    }
    black_box(filter.response(&cx, &case.head, black_box(answer))?);
    if let Some(body) = &case.answer {
        black_box(filter.response_body(&cx, &case.head, answer, black_box(body.clone()))?);
    }
    Ok(())
}

fn filters(criterion: &mut Criterion) {
    let catalog = Catalog::builtin();
    let cases = cases();
    for entry in catalog.entries() {
        let case = cases.iter().find(|case| case.name == entry.name);
        assert!(case.is_some(), "`{}` has no benchmark", entry.name);
    }
    let (answer, ()) = http::Response::builder()
        .header("content-type", "application/json")
        .header("set-cookie", "a=b")
        .body(())
        .unwrap_or_default()
        .into_parts();
    let mut group = criterion.benchmark_group("filters");
    for case in &cases {
        let mut settings = <dyn erased_serde::Deserializer<'_>>::erase(
            serde_yaml::Deserializer::from_str(case.settings),
        );
        let built = catalog
            .find(case.name)
            .map(|entry| entry.build(&mut settings));
        let Some(Ok(filter)) = built else {
            unreachable!("`{}` is not built from `{}`", case.name, case.settings);
        };
        let mut answer = answer.clone();
        answer.status = case.status;
        // What is measured is the work, not a refusal.
        assert_eq!(exchange(&*filter, case, &answer), Ok(()), "{}", case.name);
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| exchange(&*filter, case, &answer));
        });
    }
    group.finish();
}

criterion_group!(benches, filters);
criterion_main!(benches);
