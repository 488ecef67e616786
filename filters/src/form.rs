//! What counts as a form: `application/x-www-form-urlencoded`, uncompressed, and not large.

use http::{HeaderMap, StatusCode, header};

use crate::{Refusal, reply::media_type};

/// The largest form that is read, in bytes. Sign-in forms are a few kilobytes.
pub(crate) const LIMIT: usize = 64 * 1024;

/// Says whether the body is declared to be a form; two content types are none.
#[must_use]
pub fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers)
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// Refuses a body that is declared to be compressed: what cannot be read cannot be checked.
pub(crate) fn refuse_encoded(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "invalid_request",
        "the form is compressed: send it without a Content-Encoding",
    ))
}

/// Refuses everything but an uncompressed form.
pub(crate) fn require(headers: &HeaderMap) -> Result<(), Refusal> {
    if !is_form(headers) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request",
            "the body must be a form: send Content-Type application/x-www-form-urlencoded",
        ));
    }
    refuse_encoded(headers)
}
