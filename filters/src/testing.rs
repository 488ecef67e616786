//! What the filters' tests share: building from YAML, and messages in one line.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, request, response};

use crate::{
    BodyPlan, BuildError, Catalog, Context, Edits, Filter, HeaderEdit, Problem, Refusal, Response,
    ResponseEdits, Verdict,
};

/// The time of every test, in seconds since the Unix epoch.
pub(crate) const NOW: u64 = 1_700_000_000;

pub(crate) fn cx() -> Context<'static> {
    Context {
        now: NOW,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        route: "/test",
        identity: None,
    }
}

pub(crate) fn try_build(name: &str, yaml: &str) -> Result<Box<dyn Filter>, BuildError> {
    let catalog = Catalog::builtin();
    let entry = catalog.find(name).unwrap();
    entry.build(&mut <dyn erased_serde::Deserializer<'_>>::erase(
        serde_yaml::Deserializer::from_str(yaml),
    ))
}

pub(crate) fn build(name: &str, yaml: &str) -> Box<dyn Filter> {
    try_build(name, yaml).unwrap()
}

/// Builds settings that are wrong and returns what is.
pub(crate) fn problems(name: &str, yaml: &str) -> Vec<String> {
    match try_build(name, yaml) {
        Err(BuildError::Problems(problems)) => problems
            .into_iter()
            .map(|Problem { at, what, .. }| format!("{at}: {what}"))
            .collect(),
        Err(BuildError::Shape(error)) => vec![error.to_string()],
        Ok(filter) => panic!("built {filter:?}"),
    }
}

/// Makes a request head from lines such as `POST /a?b` and `Origin: x`.
pub(crate) fn request(text: &str) -> request::Parts {
    let mut lines = text.lines().map(str::trim);
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        builder = builder.header(name, value);
    }
    builder.body(()).unwrap().into_parts().0
}

/// Makes a response head from a status and lines such as `Content-Type: x`.
pub(crate) fn response(text: &str) -> response::Parts {
    let mut lines = text.lines().map(str::trim);
    let mut builder = http::Response::builder().status(lines.next().unwrap());
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        builder = builder.header(name, value);
    }
    builder.body(()).unwrap().into_parts().0
}

pub(crate) fn edits(verdict: Result<Verdict, Refusal>) -> Edits {
    match verdict.unwrap() {
        Verdict::Continue(edits) => edits,
        Verdict::Respond(response) => panic!("answered {response:?}"),
    }
}

pub(crate) fn reply(verdict: Result<Verdict, Refusal>) -> Response {
    match verdict.unwrap() {
        Verdict::Respond(response) => response,
        Verdict::Continue(edits) => panic!("passed on {edits:?}"),
    }
}

/// Passes a target through a filter; `None` when it was not touched.
pub(crate) fn retarget(filter: &dyn Filter, target: &str) -> Option<String> {
    let head = request(&format!("GET {target}"));
    edits(filter.request(&cx(), &head))
        .target
        .map(|target| target.to_string())
}

/// Passes a form through a filter; `None` when it was not touched.
pub(crate) fn reform(filter: &dyn Filter, body: &[u8]) -> Option<Vec<u8>> {
    let head = form_request();
    assert!(filter.request_body_limit(&head).is_some());
    edits(filter.request_body(&cx(), &head, &Bytes::copy_from_slice(body)))
        .body
        .map(|body| body.to_vec())
}

pub(crate) fn form_request() -> request::Parts {
    request("POST /token\nContent-Type: application/x-www-form-urlencoded")
}

pub(crate) fn refusal<T: std::fmt::Debug>(
    result: Result<T, Refusal>,
) -> (StatusCode, &'static str) {
    let refusal = result.unwrap_err();
    assert!(!refusal.description.is_empty());
    assert!(!refusal.description.ends_with('.'));
    (refusal.status, refusal.code)
}

/// Shows header edits one a line.
pub(crate) fn show(edits: &[HeaderEdit]) -> String {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let lines: Vec<String> = edits
        .iter()
        .map(|edit| match edit {
            HeaderEdit::Set(name, value) => format!("set {name}: {}", text(value)),
            HeaderEdit::Append(name, value) => format!("append {name}: {}", text(value)),
            HeaderEdit::Remove(name) => format!("remove {name}"),
        })
        .collect();
    lines.join("\n")
}

pub(crate) fn response_edits(
    filter: &dyn Filter,
    request: &request::Parts,
    head: &response::Parts,
) -> ResponseEdits {
    filter.response(&cx(), request, head).unwrap()
}

pub(crate) fn is_gathered(plan: &BodyPlan) -> bool {
    matches!(plan, BodyPlan::Gather { .. })
}
