//! Drops fields of a form by name, wherever and however often they stand.
//!
//! Applies to bodies of `application/x-www-form-urlencoded` up to 64 KiB; other bodies pass
//! untouched. Names are compared decoded, every other byte stays as it was sent.
//!
//! ```yaml
//! - strip_form: { params: [resource] }
//! ```

use bytes::Bytes;
use http::request;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Edits, Filter, FilterConfig, Problem, Refusal, Verdict, form, settings,
    strip_query::strip,
};

/// Settings of `strip_form`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StripFormConfig {
    /// Decoded names of the fields to drop.
    params: Vec<String>,
}

impl FilterConfig for StripFormConfig {
    const NAME: &'static str = "strip_form";
    const SUMMARY: &'static str = "Drops fields of a form by name";
    const SOURCE: &'static str = include_str!("strip_form.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_params("params", &self.params, &mut problems);
        settings::finish(problems, || StripForm {
            params: self.params,
        })
    }
}

#[derive(Debug)]
struct StripForm {
    params: Vec<String>,
}

impl Filter for StripForm {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        if form::is_form(&head.headers) {
            form::refuse_encoded(&head.headers)?;
        }
        Ok(Verdict::pass())
    }

    fn request_body_limit(&self, head: &request::Parts) -> Option<usize> {
        form::is_form(&head.headers).then_some(form::LIMIT)
    }

    fn request_body(
        &self,
        _: &Context<'_>,
        _: &request::Parts,
        body: &Bytes,
    ) -> Result<Verdict, Refusal> {
        Ok(Verdict::Continue(Edits {
            body: strip(body, &self.params).map(Bytes::from),
            ..Edits::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use crate::testing::{build, cx, form_request, reform, refusal, request};

    const YAML: &str = "params: [resource]";

    fn check(body: &str, expected: Option<&str>) {
        let filter = build("strip_form", YAML);
        let found = reform(&*filter, body.as_bytes());
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{body}");
    }

    #[test]
    fn strips_every_copy_and_keeps_the_rest() {
        check(
            "code=a%2Fb&resource=x&&%72esource=y&code_verifier=%zz+",
            Some("code=a%2Fb&&code_verifier=%zz+"),
        );
        check("resource=x", Some(""));
        check("code=1", None);
        check("", None);
    }

    #[test]
    fn other_bodies_are_not_held() {
        let filter = build("strip_form", YAML);
        for head in [
            "POST /a\nContent-Type: application/json",
            "POST /a\nContent-Type: text/plain\nContent-Type: application/x-www-form-urlencoded",
            "POST /a",
        ] {
            assert_eq!(filter.request_body_limit(&request(head)), None);
        }
        let head =
            request("POST /a\nContent-Type: Application/X-WWW-Form-Urlencoded; charset=utf-8");
        assert_eq!(filter.request_body_limit(&head), Some(64 * 1024));
    }

    #[test]
    fn a_compressed_form_is_refused() {
        let filter = build("strip_form", YAML);
        let mut head = form_request();
        head.headers
            .insert("content-encoding", "gzip".parse().unwrap());
        assert_eq!(
            refusal(filter.request(&cx(), &head)),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request")
        );
    }

    proptest! {
        #[test]
        fn is_idempotent_and_never_grows(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let filter = build("strip_form", YAML);
            let mut form = body.clone();
            form.extend_from_slice(b"&resource=x&");
            form.extend_from_slice(&body);
            let after = reform(&*filter, &form).unwrap();
            prop_assert!(after.len() < form.len());
            prop_assert_eq!(reform(&*filter, &after), None);
        }
    }
}
