//! Filters as a route runs them.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{Request, request};
use mcp_gateway_filters::{Catalog, Context, Edits, Filter, Refusal, Verdict};

/// The time of every run, in seconds since the Unix epoch.
pub const NOW: u64 = 1_700_000_000;

/// Builds a filter from its settings in JSON.
///
/// # Panics
/// When the settings are wrong, which is a mistake of the target.
#[must_use]
pub fn build(name: &str, settings: serde_json::Value) -> Box<dyn Filter> {
    let catalog = Catalog::builtin();
    let entry = catalog.find(name).expect("a filter of the catalog");
    entry
        .build(&mut <dyn erased_serde::Deserializer<'_>>::erase(settings))
        .expect("good settings")
}

/// What a filter may know.
#[must_use]
pub const fn context() -> Context<'static> {
    Context {
        now: NOW,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        route: "/fuzz",
        identity: None,
    }
}

/// The head of a request for a query; `None` when no target can hold these bytes.
#[must_use]
pub fn get(query: &[u8]) -> Option<request::Parts> {
    let target = [b"/a?", query].concat();
    let parts = head("GET", &target)?;
    // `#` would end the query, and the ingress lets none through.
    (parts.uri.query()?.as_bytes() == query).then_some(parts)
}

/// The head of a posted form.
///
/// # Panics
/// Never: the head is constant.
#[must_use]
pub fn post() -> request::Parts {
    let mut parts = head("POST", b"/a").expect("a constant head");
    parts.headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    parts
}

fn head(method: &str, target: &[u8]) -> Option<request::Parts> {
    let request = Request::builder().method(method).uri(target);
    Some(request.body(()).ok()?.into_parts().0)
}

/// What a filter makes of a query; `None` when it leaves it alone.
///
/// # Errors
/// When the filter refuses.
///
/// # Panics
/// When it answers instead, or makes something else than another query.
pub fn requery(filter: &dyn Filter, head: &request::Parts) -> Result<Option<Vec<u8>>, Refusal> {
    let edits = edits(filter.request(&context(), head)?);
    assert_eq!((edits.headers.len(), &edits.body), (0, &None));
    Ok(edits.target.map(|target| {
        assert_eq!(target.path(), "/a", "the path is not the filter's");
        assert_ne!(target.query(), Some(""), "an empty query has no mark");
        target.query().unwrap_or_default().as_bytes().to_vec()
    }))
}

/// What a filter makes of a form; `None` when it leaves it alone.
///
/// # Errors
/// When the filter refuses.
///
/// # Panics
/// When it answers instead, or makes something else than another form.
pub fn reform(filter: &dyn Filter, form: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let head = post();
    assert!(filter.request_body_limit(&head).is_some());
    let verdict = filter.request_body(&context(), &head, &Bytes::copy_from_slice(form))?;
    let edits = edits(verdict);
    assert_eq!((edits.headers.len(), &edits.target), (0, &None));
    Ok(edits.body.map(|body| body.to_vec()))
}

fn edits(verdict: Verdict) -> Edits {
    match verdict {
        Verdict::Continue(edits) => edits,
        Verdict::Respond(answer) => panic!("answered {answer:?}"),
    }
}
