//! Parameters of a query or of a form: one rewriting, in either place.
//!
//! In a form only the grants of a person, `authorization_code` and `refresh_token`, are rewritten.

use bytes::Bytes;
use http::request;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Edits, Filter, Refusal, Verdict, form,
    pairs::{self, pairs},
};

/// Where parameters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    Query,
    Form,
}

/// A change to the pairs of a query or a form.
pub(crate) trait Rewrite: Send + Sync + std::fmt::Debug {
    /// Returns the new pairs; `None` when nothing is to be changed.
    ///
    /// # Errors
    /// When the request must not go on.
    fn rewrite(&self, raw: &[u8]) -> Result<Option<Vec<u8>>, Refusal>;
}

/// A rewriting where it is wanted.
#[derive(Debug)]
pub(crate) struct InPlace<R> {
    pub(crate) place: Place,
    pub(crate) rewrite: R,
}

impl<R: Rewrite> Filter for InPlace<R> {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        if self.place == Place::Form {
            if form::is_form(&head.headers) {
                form::refuse_encoded(&head.headers)?;
            }
            return Ok(Verdict::pass());
        }
        let query = head.uri.query().unwrap_or_default();
        let Some(rewritten) = self.rewrite.rewrite(query.as_bytes())? else {
            return Ok(Verdict::pass());
        };
        Ok(Verdict::Continue(Edits {
            target: Some(pairs::target(&head.uri, &rewritten)?),
            ..Edits::default()
        }))
    }

    fn request_body_limit(&self, head: &request::Parts) -> Option<usize> {
        (self.place == Place::Form && form::is_form(&head.headers)).then_some(form::LIMIT)
    }

    fn request_body(
        &self,
        _: &Context<'_>,
        _: &request::Parts,
        body: &Bytes,
    ) -> Result<Verdict, Refusal> {
        let of_a_person = pairs(body).any(|pair| {
            pair.is_named("grant_type")
                && matches!(&*pair.decoded(), b"authorization_code" | b"refresh_token")
        });
        let body = if of_a_person {
            self.rewrite.rewrite(body)?.map(Bytes::from)
        } else {
            None
        };
        Ok(Verdict::Continue(Edits {
            body,
            ..Edits::default()
        }))
    }
}
