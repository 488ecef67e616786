//! Turns a posted form into the query of the request.
//!
//! An authorization endpoint must also be served by POST (OpenID Connect Core §3.1.2.1); with this
//! step first, the steps behind look in one place. The fields are put behind the query as they were
//! sent; what cannot stand in a query is percent-encoded, which no reader can tell apart. The body is
//! empty afterwards. Anything else that is posted is refused with 415; other methods pass.
//!
//! ```yaml
//! - form_to_query: {}
//! ```

use bytes::Bytes;
use http::{Method, header, request};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Edits, Filter, FilterConfig, HeaderEdit, Problem, Refusal, Verdict, form, pairs,
};

/// What of a form cannot stand in a query (RFC 3986 §3.4).
const NOT_IN_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Settings of `form_to_query`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FormToQueryConfig {}

impl FilterConfig for FormToQueryConfig {
    const NAME: &'static str = "form_to_query";
    const SUMMARY: &'static str = "Turns a posted form into the query of the request";
    const SOURCE: &'static str = include_str!("form_to_query.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        Ok(Box::new(FormToQuery))
    }
}

#[derive(Debug)]
struct FormToQuery;

impl Filter for FormToQuery {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        if head.method == Method::POST {
            form::require(&head.headers)?;
        }
        Ok(Verdict::pass())
    }

    fn request_body_limit(&self, head: &request::Parts) -> Option<usize> {
        (head.method == Method::POST && form::is_form(&head.headers)).then_some(form::LIMIT)
    }

    fn request_body(
        &self,
        _: &Context<'_>,
        head: &request::Parts,
        body: &Bytes,
    ) -> Result<Verdict, Refusal> {
        let mut edits = Edits {
            headers: vec![HeaderEdit::Remove(header::CONTENT_TYPE)],
            body: Some(Bytes::new()),
            ..Edits::default()
        };
        if !body.is_empty() {
            let mut query = head.uri.query().unwrap_or_default().as_bytes().to_vec();
            let fields = percent_encode(body, NOT_IN_QUERY).to_string();
            pairs::append(&mut query, fields.as_bytes());
            edits.target = Some(pairs::target(&head.uri, &query)?);
        }
        Ok(Verdict::Continue(edits))
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{build, cx, edits, refusal, request, show};

    fn post(target: &str, body: &[u8]) -> Result<Verdict, Refusal> {
        let filter = build("form_to_query", "{}");
        let head = request(&format!(
            "POST {target}\nContent-Type: application/x-www-form-urlencoded"
        ));
        filter.request_body(&cx(), &head, &Bytes::copy_from_slice(body))
    }

    fn check(target: &str, body: &str, expected: Option<&str>) {
        let found = edits(post(target, body.as_bytes()));
        assert_eq!(
            found.target.map(|target| target.to_string()).as_deref(),
            expected
        );
        assert_eq!(found.body, Some(Bytes::new()));
        assert_eq!(show(&found.headers), "remove content-type");
    }

    #[test]
    fn fields_are_put_behind_the_query() {
        check("/a", "x=%2F+&y", Some("/a?x=%2F+&y"));
        check("/a?z", "x=1", Some("/a?z&x=1"));
        check("/a?z", "", None);
    }

    #[test]
    fn what_cannot_stand_in_a_query_is_encoded_and_not_lost() {
        check("/a", "x=a#b c\"é", Some("/a?x=a%23b%20c%22%C3%A9"));
    }

    #[test]
    fn only_forms_are_posted() {
        let filter = build("form_to_query", "{}");
        for head in ["POST /", "POST /\nContent-Type: application/json"] {
            assert_eq!(
                refusal(filter.request(&cx(), &request(head))),
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request")
            );
        }
        let get = request("GET /?a");
        assert_eq!(edits(filter.request(&cx(), &get)), Edits::default());
        assert_eq!(filter.request_body_limit(&get), None);
    }

    #[test]
    fn a_form_that_does_not_fit_is_refused() {
        assert_eq!(
            refusal(post("/a", "#".repeat(60_000).as_bytes())),
            (StatusCode::BAD_REQUEST, "invalid_request")
        );
    }

    proptest! {
        #[test]
        fn every_byte_arrives(body in proptest::collection::vec(any::<u8>(), 1..80)) {
            let target = edits(post("/a", &body)).target.unwrap();
            let query = target.query().unwrap();
            let read = |raw: &[u8]| percent_encoding::percent_decode(raw).collect::<Vec<u8>>();
            prop_assert_eq!(read(query.as_bytes()), read(&body));
        }
    }
}
