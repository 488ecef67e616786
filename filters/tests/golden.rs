//! Transcripts of whole exchanges: what was sent, and what went on.
//!
//! Each file of `golden/` holds sections that begin with `### `: `steps` (YAML), `sent`, and then
//! `forwarded`, `answered` or `refused`; an exchange that was forwarded may go on with `upstream`
//! (the answer) and `returned`. The steps are driven here the way the gateway drives them, without
//! a network.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a transcript that does not parse fails the test"
)]

use std::{
    fmt::Write,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use bytes::Bytes;
use http::{HeaderMap, Request, header, request, response};
use mcp_gateway_filters::{
    BodyPlan, Catalog, Context, Edits, Filter, HeaderEdit, Refusal, Verdict,
};

/// The time of every transcript, in seconds since the Unix epoch.
const NOW: u64 = 1_700_000_000;

const CX: Context<'static> = Context {
    now: NOW,
    client: IpAddr::V4(Ipv4Addr::LOCALHOST),
    route: "/golden",
    identity: None,
};

fn steps(yaml: &str) -> Vec<Box<dyn Filter>> {
    let catalog = Catalog::builtin();
    let steps: Vec<serde_yaml::Mapping> = serde_yaml::from_str(yaml).unwrap();
    steps
        .into_iter()
        .flatten()
        .map(|(name, settings)| {
            let entry = catalog.find(name.as_str().unwrap()).unwrap();
            let mut settings = <dyn erased_serde::Deserializer<'_>>::erase(settings);
            entry.build(&mut settings).unwrap()
        })
        .collect()
}

/// Cuts a message into its first line, its headers and its body.
fn cut(message: &str) -> (&str, Vec<(&str, &str)>, Bytes) {
    let (head, body) = message.split_once("\n\n").unwrap_or((message, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap()).collect();
    (
        first,
        headers,
        Bytes::copy_from_slice(body.trim_end().as_bytes()),
    )
}

fn parse_request(message: &str) -> (request::Parts, Bytes) {
    let (first, headers, body) = cut(message);
    let (method, target) = first.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    (builder.body(()).unwrap().into_parts().0, body)
}

fn parse_response(message: &str) -> (response::Parts, Bytes) {
    let (status, headers, body) = cut(message);
    let mut builder = http::Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    (builder.body(()).unwrap().into_parts().0, body)
}

fn apply(headers: &mut HeaderMap, edits: Vec<HeaderEdit>) {
    for edit in edits {
        match edit {
            HeaderEdit::Set(name, value) => {
                headers.insert(name, value);
            }
            HeaderEdit::Append(name, value) => {
                headers.append(name, value);
            }
            HeaderEdit::Remove(name) => {
                headers.remove(name);
            }
        }
    }
}

fn show(first: &str, headers: &HeaderMap, body: &[u8]) -> String {
    let mut text = format!("{first}\n");
    for (name, value) in headers {
        writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
    }
    if !body.is_empty() {
        text.push('\n');
        text.push_str(std::str::from_utf8(body).unwrap());
        text.push('\n');
    }
    text
}

fn show_refusal(refusal: &Refusal) -> String {
    format!("{}\n\n{refusal}\n", refusal.status.as_u16())
}

/// What became of a request.
enum Outcome {
    Forwarded(String),
    Answered(response::Parts, Bytes),
    Refused(String),
}

impl Outcome {
    /// Returns the section that describes the outcome, and its text.
    fn section(&self) -> (&'static str, String) {
        match self {
            Self::Forwarded(text) => ("forwarded", text.clone()),
            Self::Answered(head, body) => {
                ("answered", show(head.status.as_str(), &head.headers, body))
            }
            Self::Refused(text) => ("refused", text.clone()),
        }
    }
}

/// Passes a request through the steps; returns how many ran as well.
fn run(steps: &[Box<dyn Filter>], head: &request::Parts, body: Bytes) -> (usize, Outcome) {
    let mut head = head.clone();
    let mut body = body;
    for (index, step) in steps.iter().enumerate() {
        let mut verdicts = vec![step.request(&CX, &head)];
        if matches!(verdicts.last(), Some(Ok(Verdict::Continue(_)))) {
            absorb(&mut head, &mut body, verdicts.pop().unwrap().unwrap());
            if let Some(limit) = step.request_body_limit(&head) {
                assert!(body.len() <= limit);
                verdicts.push(step.request_body(&CX, &head, &body));
            }
        }
        match verdicts.pop() {
            None => {}
            Some(Ok(Verdict::Respond(response))) => {
                let (head, body) = response.into_parts();
                return (index + 1, Outcome::Answered(head, body));
            }
            Some(Ok(verdict)) => absorb(&mut head, &mut body, verdict),
            Some(Err(refusal)) => return (index + 1, Outcome::Refused(show_refusal(&refusal))),
        }
    }
    let first = format!("{} {}", head.method, head.uri);
    (
        steps.len(),
        Outcome::Forwarded(show(&first, &head.headers, &body)),
    )
}

fn absorb(head: &mut request::Parts, body: &mut Bytes, verdict: Verdict) {
    let Verdict::Continue(Edits {
        target,
        headers,
        body: new,
    }) = verdict
    else {
        unreachable!("only edits are absorbed");
    };
    if let Some(target) = target {
        head.uri = target.as_str().parse().unwrap();
    }
    apply(&mut head.headers, headers);
    if let Some(new) = new {
        *body = new;
    }
}

/// Passes an answer back through the steps that ran.
fn answer(
    steps: &[Box<dyn Filter>],
    request: &request::Parts,
    mut head: response::Parts,
    mut body: Bytes,
) -> Result<(response::Parts, Bytes), Refusal> {
    for step in steps.iter().rev() {
        let edits = step.response(&CX, request, &head)?;
        if let BodyPlan::Gather { limit } = edits.body {
            assert!(body.len() <= limit);
            body = step.response_body(&CX, request, &head, body)?;
        }
        head.status = edits.status.unwrap_or(head.status);
        apply(&mut head.headers, edits.headers);
    }
    // The gateway frames the message itself.
    head.headers.remove(header::CONTENT_LENGTH);
    Ok((head, body))
}

fn check(path: &Path) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap();
    let sections: Vec<(&str, &str)> = text
        .split("### ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap())
        .collect();
    let section = |wanted: &str| {
        let found = sections.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, text)| text.trim_end())
    };

    let steps = steps(section("steps").unwrap());
    let (sent, body) = parse_request(section("sent").unwrap());
    let (ran, outcome) = run(&steps, &sent, body);
    let outcome = match outcome {
        Outcome::Answered(head, body) => {
            let (head, body) = answer(&steps[..ran], &sent, head, body).unwrap();
            Outcome::Answered(head, body)
        }
        other => other,
    };
    let (kind, found) = outcome.section();
    assert_eq!(Some(found.trim_end()), section(kind), "{name}: {kind}");

    if let Some(upstream) = section("upstream") {
        let (head, body) = parse_response(upstream);
        let found = match answer(&steps, &sent, head, body) {
            Ok((head, body)) => show(head.status.as_str(), &head.headers, &body),
            Err(refusal) => show_refusal(&refusal),
        };
        assert_eq!(
            Some(found.trim_end()),
            section("returned"),
            "{name}: returned"
        );
    }
}

#[test]
fn every_transcript_reads_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "http")
        {
            check(&path);
            count += 1;
        }
    }
    assert!(count >= 7, "only {count} transcripts were found");
}
